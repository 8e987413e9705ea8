/** Imports and restores of images in other formats than raw: puts the engine's NBD server and qemu-img together. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { systemError } from '../catalog/system-error.js';
import type { NewDisk } from '../coordinator/managed-disks.js';
import type { SourceDisk } from '../coordinator/sources.js';
import { checkedImage, convertIn, convertOut, formatToImport } from '../images/convert.js';
import type { ImageFormat } from '../images/formats.js';
import type { Control, Engine, NbdExport, NbdExports, RestoreReport } from '../native/engine.js';
import { StillpointError } from './errors.js';

/** Connections of one qemu-img, with room for those that it gives up and makes anew. */
const clientsMax = 16;

/** The content of an image, as a caller names it. */
export interface ImportedContent {
  readonly kind: 'image';
  readonly path: string;
  /** Null: by its first bytes. */
  readonly format: ImageFormat | null;
}

/** A disk to make, as a caller names it. */
export type Planned<Disk extends Omit<NewDisk, 'name'>> = Omit<Disk, 'content'> & {
  readonly content: Exclude<NewDisk['content'], { readonly kind: 'image' }> | ImportedContent;
};

/**
 * The disk with its content as the coordinator knows it.
 *
 * Errors: `SOURCE_NOT_FOUND`, `SOURCE_SIZE_INVALID`, `IMAGE_UNSUPPORTED`, `QEMU_IMG_MISSING`, `IMAGE_CONVERSION_FAILED`.
 */
export async function withContent<Disk extends Omit<NewDisk, 'name'>>(
  engine: Engine,
  planned: Planned<Disk>,
  signal: AbortSignal | undefined,
): Promise<Omit<Disk, 'content'> & { readonly content: NewDisk['content'] }> {
  const { content } = planned;
  if (content.kind !== 'image') return { ...planned, content };
  const format = await formatToImport(content.path, content.format);
  if (format === 'raw') return { ...planned, content: { kind: 'image', path: content.path } };
  const image = await checkedImage(content.path, format, signal);
  const { sizeBytes } = image;
  if (sizeBytes === 0 || sizeBytes % planned.sectorBytes !== 0) {
    const { path: file } = content;
    const { sectorBytes } = planned;
    const message = `the disk in ${file} has ${sizeBytes} bytes, which is no whole number of sectors of ${sectorBytes} bytes`;
    throw new StillpointError('SOURCE_SIZE_INVALID', message, { path: file, sizeBytes, sectorBytes });
  }
  const fill = async (diskId: string, control: Control): Promise<void> => {
    await servedAlone(engine, { diskId, pointId: null }, (uri) => convertIn(image, uri, control));
    await engine.flushDisk(diskId);
  };
  return { ...planned, content: { kind: 'filled', sizeBytes, fill } };
}

/** A file or device that a disk is written to. */
export interface FileTarget {
  readonly targetPath: string;
  readonly format: ImageFormat;
  readonly overwrite: boolean;
  readonly sync: boolean;
}

/** Writes a disk of a point to a file or device. Errors: those of the engine's restore, or of `convertOut`. */
export async function restoreToFile(
  engine: Engine,
  { reference, sizeBytes }: SourceDisk,
  { targetPath, format, overwrite, sync }: FileTarget,
  control: Control,
): Promise<RestoreReport> {
  if (format === 'raw') return engine.restore({ ...reference, targetPath, overwrite, sync }, control);
  const target = { path: targetPath, format, overwrite, sync };
  const bytesWritten = await servedAlone(engine, reference, (uri) => convertOut(uri, sizeBytes, target, control)).catch(
    (cause: unknown) => {
      throw systemError(cause, targetPath);
    },
  );
  return { sizeBytes, bytesWritten };
}

/** Serves one disk to programs of this user for as long as it is used. */
async function servedAlone<T>(
  engine: Engine,
  disk: { readonly diskId: string; readonly pointId: string | null },
  use: (uri: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-'));
  try {
    const socket = path.join(folder, 'nbd.sock');
    const request = { listen: [{ path: socket }], clientsMax, tls: null, allowPlain: false };
    const serving = await engine.serveNbd(request, onlyExport(disk));
    try {
      return await use(`nbd+unix:///?socket=${encodeURIComponent(socket)}`);
    } finally {
      await serving.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function onlyExport({ diskId, pointId }: { readonly diskId: string; readonly pointId: string | null }): NbdExports {
  let token = 0;
  const found = (): NbdExport => {
    token += 1;
    return { token, name: '', description: '', diskId, pointId, bitmaps: [] };
  };
  return {
    list: () => Promise.resolve([]),
    open: (name) => Promise.resolve(name === '' ? found() : null),
    closed: () => undefined,
  };
}
