/** A plain sparse copy: the floor for moving the bytes. Never a reflink, which moves none. */

import path from 'node:path';

import type { Contender } from '../contender.js';

export const copy: Contender = {
  name: 'copy',
  settings: 'cp --sparse=always --reflink=never',
  program: 'cp',
  debianPackage: 'coreutils',
  versionArgs: ['--version'],
  steps: ['full', 'changed', 'restore'],
  prepare: (place) => [
    { program: 'mkdir', args: ['-p', path.join(place.store, 'full'), path.join(place.store, 'changed')] },
  ],
  commands: (step, place) => {
    const from = step === 'restore' ? path.join(place.store, 'changed') : place.images;
    const to = step === 'restore' ? place.restored : path.join(place.store, step);
    const args = ['--sparse=always', '--reflink=never', ...place.names, to];
    return [{ program: 'cp', args, directory: from }];
  },
};
