/** b3sum: reads and hashes everything with all cores, holes too; the floor for whoever finds out by reading. */

import type { Contender } from '../contender.js';

export const b3sum: Contender = {
  name: 'b3sum',
  settings: 'reads and hashes only',
  program: 'b3sum',
  debianPackage: 'b3sum',
  versionArgs: ['--version'],
  steps: ['unchanged'],
  prepare: () => [],
  commands: (_step, place) => [{ program: 'b3sum', args: place.names, directory: place.images }],
};
