/**
 * Lets `level` be put into the command's files, all but its native part.
 *
 * The addon stays in `classic-level`, which finds it by its own place. It is reached through `level`: that alone is a
 * dependency of ours, and package managers may hide from us what it depends on. The addon and the code that calls it
 * are one version. Where another one is installed than was put in, all of `level` is loaded from where it is installed.
 */

import { readFileSync } from 'node:fs';
import path from 'node:path';

const place = `const place = require.resolve('level');
const installed = require('node:module').createRequire(place);`;

const addonText = `${place}
module.exports = installed('classic-level/binding.js');
`;

const levelText = (version) => `${place}
const isSame = installed('classic-level/package.json').version === '${version}';
exports.Level = isSame ? require('classic-level').ClassicLevel : installed(place).Level;
`;

/** A plugin for rolldown. */
export const bundledLevel = {
  name: 'bundled-level',
  load: {
    filter: { id: /\/node_modules\/(level\/index|classic-level\/binding)\.js$/ },
    async handler(id) {
      if (id.endsWith('binding.js')) return addonText;
      const { id: inner } = await this.resolve('classic-level', id);
      const manifest = readFileSync(path.join(path.dirname(inner), 'package.json'), 'utf8');
      return levelText(JSON.parse(manifest).version);
    },
  },
};
