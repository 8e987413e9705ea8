// Made by `npm run build` from the names that the addon exports. Not edited by hand.
'use strict';

let addon;
try {
  // Only the file beside this one is ever loaded: no package and no environment variable can name another.
  addon = require('./stillpoint.node');
} catch (cause) {
  throw new Error('the native addon did not load; in a checkout, npm run build makes it', { cause });
}

module.exports.NativeDiff = addon.NativeDiff;
module.exports.NativeDisks = addon.NativeDisks;
module.exports.NativeEngine = addon.NativeEngine;
module.exports.NativeLoan = addon.NativeLoan;
module.exports.NativeNbdServer = addon.NativeNbdServer;
module.exports.NativeOperation = addon.NativeOperation;
module.exports.NativeProbe = addon.NativeProbe;
module.exports.NativeScaleProbe = addon.NativeScaleProbe;
module.exports.NativeScan = addon.NativeScan;
module.exports.NativeWorld = addon.NativeWorld;
module.exports.createStore = addon.createStore;
module.exports.engineLimits = addon.engineLimits;
module.exports.errorCodes = addon.errorCodes;
module.exports.openStore = addon.openStore;
