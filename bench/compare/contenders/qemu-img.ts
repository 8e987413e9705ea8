/** qemu-img: a compressed copy of each image at each moment; nothing is shared between moments. */

import path from 'node:path';

import type { Command, Contender, Place } from '../contender.js';

function copyIn(place: Place, step: string): Command[] {
  const options = ['-f', 'raw', '-O', 'qcow2', '-c', '-o', 'compression_type=zstd'];
  return place.names.map((name) => {
    const args = [
      'convert',
      ...options,
      path.join(place.images, name),
      path.join(place.store, `${step}-${name}.qcow2`),
    ];
    return { program: 'qemu-img', args };
  });
}

function copyOut(place: Place): Command[] {
  return place.names.map((name) => {
    const [from, to] = [path.join(place.store, `changed-${name}.qcow2`), path.join(place.restored, name)];
    return { program: 'qemu-img', args: ['convert', '-f', 'qcow2', '-O', 'raw', from, to] };
  });
}

export const qemuImg: Contender = {
  name: 'qemu-img',
  settings: 'convert -c, compression_type=zstd',
  program: 'qemu-img',
  debianPackage: 'qemu-utils',
  versionArgs: ['--version'],
  steps: ['full', 'changed', 'restore'],
  prepare: (place) => [{ program: 'mkdir', args: [place.store] }],
  commands: (step, place) => (step === 'restore' ? copyOut(place) : copyIn(place, step)),
};
