/** The text of the addon's loader, made from the names that the addon exports. */

import { mustRun, StepError } from './run.mjs';

/** Loads an addon in a process of its own, so that one that crashes ends in a message. */
async function exportedNames(addonFile) {
  const program = 'process.stdout.write(JSON.stringify(Object.keys(require(process.argv[1]))))';
  const text = await mustRun(process.execPath, ['--input-type=commonjs', '-e', program, addonFile], {
    output: 'capture',
    failed: 'the built addon does not load',
  });
  const names = JSON.parse(text);
  const odd = names.find((name) => !/^[A-Za-z_$][\w$]*$/.test(name));
  if (odd !== undefined) throw new StepError(`the addon exports ${JSON.stringify(odd)}, which is no JavaScript name`);
  return names.sort();
}

/** Each name is assigned by itself: that is how Node.js finds the names that `import { x }` may ask for. */
export async function addonLoader(addonFile) {
  const names = await exportedNames(addonFile);
  return `// Made by \`npm run build\` from the names that the addon exports. Not edited by hand.
'use strict';

let addon;
try {
  // Only the file beside this one is ever loaded: no package and no environment variable can name another.
  addon = require('./stillpoint.node');
} catch (cause) {
  throw new Error('the native addon did not load; in a checkout, npm run build makes it', { cause });
}

${names.map((name) => `module.exports.${name} = addon.${name};\n`).join('')}`.replace(/\n+$/, '\n');
}
