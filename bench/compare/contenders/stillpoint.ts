/** Ours: the command line as it is installed, its start included. */

import path from 'node:path';

import { inCheckout } from '../../checkout.js';
import type { Command, Contender, Place } from '../contender.js';

const machine = 'bench';

function ours(place: Place, ...args: readonly string[]): Command {
  const program = inCheckout('dist', 'cli', 'main.js');
  return { program: process.execPath, args: [program, '--store', place.store, '--json', ...args] };
}

/** The role of an image: its file's name without ending. */
function externals({ images, names }: Place): string[] {
  return names.flatMap((name) => ['--external', `${path.parse(name).name}=${path.join(images, name)}`]);
}

export const stillpoint: Contender = {
  name: 'stillpoint',
  settings: '64 KiB chunks, zstd level 2',
  program: null,
  debianPackage: null,
  versionArgs: [],
  steps: ['full', 'changed', 'unchanged', 'restore'],
  prepare: (place) => [ours(place, 'init'), ours(place, 'vm', 'create', machine, ...externals(place))],
  commands: (step, place) => {
    if (step !== 'restore') return [ours(place, 'capture', machine, '--name', step)];
    return [ours(place, 'restore', `${machine}/changed`, '--to-directory', place.restored, '--no-sync')];
  },
};
