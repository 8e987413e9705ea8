/**
 * Refuses images that are not all of a disk, before qemu-img sees them.
 *
 * An image may name other files: a backing file, a file with its data, extents. Whoever made it chooses which, any file of
 * this machine included, and their bytes would become the disk's. It may also be encrypted, and nobody is here to ask for the
 * key. Sources: QEMU's docs/interop/qcow2.txt and block/vmdk.c, the VHD specification.
 */

import { open, type FileHandle } from 'node:fs/promises';

import { StillpointError } from '../store/errors.js';
import { formatFacts, type ContainerFormat } from './formats.js';
import { imageKind, vhdFooterBytes, vhdMark } from './image-kind.js';

/** The error of an image that is not imported. */
export function unsupported(path: string, reason: string): StillpointError {
  return new StillpointError('IMAGE_UNSUPPORTED', `${path} ${reason}`, { path });
}

/** The beginning of an image, and of a file its last bytes and how long it is; a device may go on behind its image. */
interface Looked {
  readonly header: Buffer;
  readonly footer: Buffer | null;
  readonly bytes: number | null;
}

/** Why an image is not taken; null for one that is. */
type Objection = (looked: Looked) => string | null;

const headerBytes = 512;
const wasCutOff = 'is shorter than it says: it was cut off';
const externalData = 1n << 2n;
const vhdDifferencing = 4;

const qcow2: Objection = ({ header }) => {
  const version = header.readUInt32BE(4);
  if (version !== 2 && version !== 3) return `is a qcow image of version ${version}, not of version 2 or 3`;
  if (header.readBigUInt64BE(8) !== 0n) return 'stands on a backing file';
  if (header.readUInt32BE(32) !== 0) return 'is encrypted';
  const isExternal = version === 3 && (header.readBigUInt64BE(72) & externalData) !== 0n;
  return isExternal ? 'has its data in another file' : null;
};

/** Of a capacity of 0 the descriptor inside tells which files the disk is made of, as a descriptor alone does. */
const vmdk: Objection = ({ header }) => {
  const isDescriptor = header.toString('latin1', 0, 4) !== 'KDMV' || header.readBigUInt64LE(12) === 0n;
  return isDescriptor ? 'is a descriptor, which names other files' : null;
};

/** The footer is the original, what a dynamic one begins with is its copy. */
const vhd: Objection = ({ header, footer }) => {
  if (footer !== null && footer.toString('latin1', 0, 8) !== vhdMark) return wasCutOff;
  return (footer ?? header).readUInt32BE(60) === vhdDifferencing ? 'stands on a parent' : null;
};

/** Blocks are as many as the header says, and whole. */
const vdi: Objection = ({ header, bytes }) => {
  const [firstData, blockBytes, blocks] = [
    header.readUInt32LE(344),
    header.readUInt32LE(376),
    header.readUInt32LE(388),
  ];
  return bytes !== null && firstData + blockBytes * blocks > bytes ? wasCutOff : null;
};

/** What has a parent qemu-img itself refuses of the last two; that nothing was cut off it finds for the others. */
const objections: Readonly<Record<ContainerFormat, Objection>> = { qcow2, vmdk, vhd, vhdx: () => null, vdi };

/** Errors: `IMAGE_UNSUPPORTED` for an image of another format, with a backing file or data elsewhere, or encrypted. */
export async function checkSelfContained(path: string, format: ContainerFormat): Promise<void> {
  const kind = await imageKind(path);
  if (kind !== formatFacts[format].kind) throw unsupported(path, `is no ${format} image, but ${kind}`);
  const file = await open(path, 'r');
  try {
    const stats = await file.stat();
    const bytes = stats.isFile() ? stats.size : null;
    const header = await read(file, 0, headerBytes);
    const footer = bytes === null ? null : await read(file, Math.max(0, bytes - vhdFooterBytes), vhdFooterBytes);
    const objection = objections[format]({ header, footer, bytes });
    if (objection !== null) throw unsupported(path, objection);
  } finally {
    await file.close();
  }
}

/** Bytes of a file, zeros where it has none. */
async function read(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  await file.read(buffer, 0, length, at);
  return buffer;
}
