/**
 * Disks in and out of image formats, by qemu-img on one side and an NBD export of ours on the other.
 *
 *   in    image -> qemu-img convert -> NBD -> a disk of zeros
 *   out   a point's disk -> NBD -> qemu-img convert -> a file in a private folder beside the target -> the target's name
 *
 * Zeros are neither read from the export nor written to it, so what is sparse stays sparse.
 */

import { chmod, link, lstat, mkdtemp, open, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';

import { StillpointError } from '../store/errors.js';
import { formatFacts, formatOf, type ContainerFormat, type ImageFormat } from './formats.js';
import { imageKind } from './image-kind.js';
import { qemuImg } from './qemu-img.js';
import { checkSelfContained, unsupported } from './self-contained.js';

/** How a long conversion is told about, and ended. */
export interface ConversionControl {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { readonly doneBytes: number; readonly totalBytes: number }) => void) | undefined;
}

/** An image holds whatever the disk held. */
const ownerOnly = 0o600;

/** Requests in flight, on either side. */
const requestsAtOnce = '16';

/**
 * The format of what is imported: the one that was named, or that of a file by its first bytes. A device is raw: who writes it
 * chooses its first bytes.
 *
 * Errors: `IMAGE_UNSUPPORTED` for a container that nothing here reads.
 */
export async function formatToImport(file: string, named: ImageFormat | null): Promise<ImageFormat> {
  if (named !== null) return named;
  const stats = await stat(file).catch(() => null);
  if (stats?.isFile() !== true) return 'raw'; // what is wrong with it is said where it is opened
  const kind = await imageKind(file);
  if (kind === 'missing' || kind === 'unknown') return 'raw';
  const format = formatOf(kind);
  if (format === null) throw unsupported(file, `is a ${kind} image`);
  return format;
}

/** What qemu-img tells of an image. */
interface Told {
  readonly 'virtual-size'?: unknown;
  readonly 'backing-filename'?: unknown;
  readonly encrypted?: unknown;
}

/** Of `qemu-img check`: clusters that nobody uses are wasted space and nothing else; some formats have no check. */
const checkFoundLeaks = 3;
const checkUnsupported = 63;

/** An image to import. */
export interface CheckedImage {
  readonly path: string;
  readonly format: ContainerFormat;
  /** Of the disk inside of it. */
  readonly sizeBytes: number;
  /** What the file was when it was checked. */
  readonly traits: string;
}

/**
 * Looks at an image and the disk inside of it; its own structure is checked: QEMU reads zeros where one was cut off.
 *
 * Errors: `SOURCE_NOT_FOUND`, `SOURCE_NOT_A_DISK`, `IMAGE_UNSUPPORTED`, those of `qemuImg`.
 */
export async function checkedImage(
  file: string,
  format: ContainerFormat,
  signal: AbortSignal | undefined,
): Promise<CheckedImage> {
  const stats = await stat(file).catch(() => null);
  if (stats === null) throw new StillpointError('SOURCE_NOT_FOUND', `there is nothing at ${file}`, { path: file });
  if (!stats.isFile() && !stats.isBlockDevice()) {
    throw new StillpointError('SOURCE_NOT_A_DISK', `${file} is neither a file nor a block device`, { path: file });
  }
  const traits = await traitsOf(file);
  await checkSelfContained(file, format);
  const { driver } = formatFacts[format];
  const call = { task: `read ${file}`, path: file, signal };
  const said = await qemuImg({ ...call, args: ['info', '--output=json', '-f', driver, file] });
  // A cast: each member is looked at before it is used.
  const told = JSON.parse(said) as Told;
  if (told['backing-filename'] !== undefined) throw unsupported(file, 'stands on a backing file');
  if (told.encrypted === true) throw unsupported(file, 'is encrypted');
  const sizeBytes = told['virtual-size'];
  if (typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes)) {
    throw unsupported(file, 'does not tell the size of its disk');
  }
  const alsoFine = [checkFoundLeaks, checkUnsupported];
  await qemuImg({ ...call, args: ['check', '-q', '-f', driver, file], task: `find ${file} sound`, alsoFine });
  return { path: file, format, sizeBytes, traits };
}

/** Writes an image into an export that reads as zeros. Errors: `SOURCE_CHANGED`, those of `qemuImg`. */
export async function convertIn(image: CheckedImage, uri: string, control: ConversionControl): Promise<void> {
  const { driver } = formatFacts[image.format];
  const args = [
    ...['convert', '-p', '-n', '--target-is-zero', '-W', '-m', requestsAtOnce],
    ...['-f', driver, '-O', 'raw', image.path, uri],
  ];
  await qemuImg({
    args,
    task: `import ${image.path}`,
    path: image.path,
    signal: control.signal,
    onShare: shares(control, image.sizeBytes),
  });
  // Nor was it another image when it was checked.
  if ((await traitsOf(image.path)) === image.traits) return;
  throw new StillpointError('SOURCE_CHANGED', `${image.path} was written to while it was read`, { path: image.path });
}

/** What is another when a file was written to or replaced. */
async function traitsOf(file: string): Promise<string> {
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join();
}

/** Where an image is written. */
export interface ImageTarget {
  readonly path: string;
  readonly format: ContainerFormat;
  /** Replace a file that is there. */
  readonly overwrite: boolean;
  /** Make it durable. */
  readonly sync: boolean;
}

/**
 * Makes an image of an export; gives the bytes that it takes. The target gets its name when the image is whole.
 *
 * Errors: `TARGET_EXISTS`, `TARGET_INVALID`, those of `qemuImg`, and of the file system. Nothing is left then.
 */
export async function convertOut(
  uri: string,
  sizeBytes: number,
  target: ImageTarget,
  control: ConversionControl,
): Promise<number> {
  await checkTarget(target);
  const parent = path.dirname(target.path);
  const folder = await mkdtemp(path.join(parent, '.stillpoint-')).catch((cause: unknown) => {
    if (!isSystemError(cause, 'ENOENT', 'ENOTDIR')) throw cause;
    throw new StillpointError('TARGET_INVALID', `there is no directory ${parent}`, { path: target.path }, cause);
  });
  try {
    const made = path.join(folder, 'image');
    const { driver, options } = formatFacts[target.format];
    const withOptions = options.length === 0 ? [] : ['-o', options.join(',')];
    await qemuImg({
      args: ['convert', '-p', '-m', requestsAtOnce, '-f', 'raw', '-O', driver, ...withOptions, uri, made],
      task: `write ${target.path}`,
      path: target.path,
      signal: control.signal,
      onShare: shares(control, sizeBytes),
    });
    await chmod(made, ownerOnly);
    if (target.sync) await synced(made);
    const { blocks } = await stat(made);
    await named(made, target);
    if (target.sync) await synced(parent);
    return blocks * 512;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function checkTarget({ path: file, overwrite }: ImageTarget): Promise<void> {
  const there = await lstat(file).catch(() => null);
  if (there === null) return;
  if (!overwrite) throw exists(file);
  if (!there.isFile()) {
    const message = `${file} is no regular file; an image of a format other than raw is made as a new file`;
    throw new StillpointError('TARGET_INVALID', message, { path: file });
  }
}

async function named(made: string, { path: file, overwrite }: ImageTarget): Promise<void> {
  if (overwrite) {
    await rename(made, file);
    return;
  }
  try {
    await link(made, file); // which, unlike a new name, replaces nothing
  } catch (cause) {
    if (isSystemError(cause, 'EEXIST')) throw exists(file);
    if (!isSystemError(cause, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')) throw cause;
    await rename(made, file); // a file system without second names
  }
}

function exists(file: string): StillpointError {
  return new StillpointError('TARGET_EXISTS', `${file} exists already`, { path: file });
}

async function synced(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function isSystemError(cause: unknown, ...codes: readonly string[]): boolean {
  return cause instanceof Error && 'code' in cause && codes.some((code) => code === cause.code);
}

function shares({ onProgress }: ConversionControl, totalBytes: number): (share: number) => void {
  return (share) => onProgress?.({ doneBytes: Math.round(share * totalBytes), totalBytes });
}
