/**
 * borg with fixed chunks, which is what it recommends for disk images: small ones with its fastest compression, and
 * large ones with zstd. Not encrypted. Holes are not read (`--sparse`); the files cache is off, so that unchanged
 * content is found by reading.
 */

import path from 'node:path';

import type { Command, Contender, Place } from '../contender.js';

function borg(place: Place, directory: string, ...args: readonly string[]): Command {
  const environment = {
    BORG_REPO: place.store,
    BORG_BASE_DIR: path.join(place.root, 'base'),
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
  };
  return { program: 'borg', args, directory, environment };
}

function borgWith(name: string, settings: string, chunkBytes: number, compression: string): Contender {
  const options = ['--sparse', '--files-cache', 'disabled', '--chunker-params', `fixed,${chunkBytes}`];
  return {
    name,
    settings,
    program: 'borg',
    debianPackage: 'borgbackup',
    versionArgs: ['--version'],
    steps: ['full', 'changed', 'unchanged', 'restore'],
    prepare: (place) => [borg(place, place.root, 'init', '--encryption', 'none')],
    commands: (step, place) => {
      if (step === 'restore') return [borg(place, place.restored, 'extract', '--sparse', '::changed')];
      return [
        borg(place, place.images, 'create', ...options, '--compression', compression, `::${step}`, ...place.names),
      ];
    },
  };
}

export const borgSmall: Contender = borgWith('borg-64k', 'fixed 64 KiB, lz4', 64 << 10, 'lz4');
export const borgLarge: Contender = borgWith('borg-4m', 'fixed 4 MiB, zstd level 1', 4 << 20, 'zstd,1');
