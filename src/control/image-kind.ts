/**
 * What lies at the path of a disk, by its first bytes.
 *
 * A file in a container format is captured as it is, byte for byte, and comes back so; but offsets of a diff are then
 * those of the file, and a data block that moves inside the container counts as changed. Users should hear of it.
 */

import { open } from 'node:fs/promises';

/** `raw` is everything that is no known container, `unknown` what could not be looked at. */
export type ImageKind = 'missing' | 'unknown' | 'raw' | 'qcow2' | 'VMDK' | 'VHDX' | 'VHD' | 'VDI';

interface Magic {
  readonly kind: ImageKind;
  readonly offset: number;
  readonly bytes: string;
}

/** Sources: QEMU's `block/` drivers; VDI has its signature behind 64 bytes of text. */
const magics: readonly Magic[] = [
  { kind: 'qcow2', offset: 0, bytes: 'QFI\u00fb' },
  { kind: 'VMDK', offset: 0, bytes: 'KDMV' },
  { kind: 'VMDK', offset: 0, bytes: '# Disk DescriptorFile' },
  { kind: 'VHDX', offset: 0, bytes: 'vhdxfile' },
  { kind: 'VHD', offset: 0, bytes: 'conectix' },
  { kind: 'VDI', offset: 64, bytes: '\u007f\u0010\u00da\u00be' },
];

/** Looks at a path. Never throws: a capture says what is wrong, this only remarks. */
export async function imageKind(path: string): Promise<ImageKind> {
  try {
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(128), 0, 128, 0);
      const head = buffer.toString('latin1', 0, bytesRead);
      return magics.find(({ offset, bytes }) => head.startsWith(bytes, offset))?.kind ?? 'raw';
    } finally {
      await file.close();
    }
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'missing' : 'unknown';
  }
}
