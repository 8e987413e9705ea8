/**
 * restic: content-defined chunks, zstd, always encrypted.
 *
 * `--force` reads every file whatever its times say: unchanged content is to be found by reading. Restored files are
 * sparse where this version can (`--sparse` came with 0.15); older ones write the zeros.
 */

import path from 'node:path';

import type { Command, Contender, Place } from '../contender.js';

function command(place: Place, ...args: readonly string[]): Command {
  const environment = {
    RESTIC_REPOSITORY: place.store,
    RESTIC_PASSWORD: 'bench',
    RESTIC_CACHE_DIR: path.join(place.root, 'cache'),
  };
  return { program: 'restic', args: ['--quiet', ...args], directory: place.images, environment };
}

export const restic: Contender = {
  name: 'restic',
  settings: 'its defaults: content-defined chunks, zstd, encrypted',
  program: 'restic',
  debianPackage: 'restic',
  versionArgs: ['version'],
  steps: ['full', 'changed', 'unchanged', 'restore'],
  prepare: (place) => [command(place, 'init')],
  commands: (step, place) => {
    if (step !== 'restore') return [command(place, 'backup', '--force', '--tag', step, ...place.names)];
    return [command(place, 'restore', 'latest', '--tag', 'changed', '--target', place.restored)];
  },
};
