/**
 * What lies at the path of a disk, by its first bytes, and by its last ones where a format has its mark there.
 *
 * A file in a container format is captured as it is, byte for byte, and comes back so; but offsets of a diff are then
 * those of the file, and a data block that moves inside the container counts as changed. Users should hear of it. An
 * import takes the disk inside of it.
 */

import { open, type FileHandle } from 'node:fs/promises';

/** `raw` is everything that is no known container, `unknown` what could not be looked at. */
export type ImageKind = 'missing' | 'unknown' | 'raw' | 'qcow2' | 'VMDK' | 'VHDX' | 'VHD' | 'VDI' | 'QED' | 'Parallels';

interface Magic {
  readonly kind: ImageKind;
  readonly offset: number;
  readonly bytes: string;
}

/** How a VHD's footer begins and how long it is; one of fixed size has it at its end only. */
export const vhdMark = 'conectix';
export const vhdFooterBytes = 512;

/** Sources: QEMU's `block/` drivers; VDI has its signature behind 64 bytes of text. */
const magics: readonly Magic[] = [
  { kind: 'qcow2', offset: 0, bytes: 'QFI\u00fb' },
  { kind: 'VMDK', offset: 0, bytes: 'KDMV' },
  { kind: 'VMDK', offset: 0, bytes: '# Disk DescriptorFile' },
  { kind: 'VHDX', offset: 0, bytes: 'vhdxfile' },
  { kind: 'VHD', offset: 0, bytes: vhdMark },
  { kind: 'VDI', offset: 64, bytes: '\u007f\u0010\u00da\u00be' },
  { kind: 'QED', offset: 0, bytes: 'QED\u0000' },
  { kind: 'Parallels', offset: 0, bytes: 'WithoutFreeSpace' },
  { kind: 'Parallels', offset: 0, bytes: 'WithouFreSpacExt' },
];

async function textAt(file: FileHandle, at: number, length: number): Promise<string> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at);
  return buffer.toString('latin1', 0, bytesRead);
}

/** Looks at a path. Never throws: a capture says what is wrong, this only remarks. */
export async function imageKind(path: string): Promise<ImageKind> {
  try {
    const file = await open(path, 'r');
    try {
      const head = await textAt(file, 0, 128);
      const found = magics.find(({ offset, bytes }) => head.startsWith(bytes, offset))?.kind;
      if (found !== undefined) return found;
      const stats = await file.stat();
      if (!stats.isFile() || stats.size < 2 * vhdFooterBytes) return 'raw';
      return (await textAt(file, stats.size - vhdFooterBytes, 8)) === vhdMark ? 'VHD' : 'raw';
    } finally {
      await file.close();
    }
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'missing' : 'unknown';
  }
}
