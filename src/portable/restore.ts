/**
 * Writing a disk to a new file.
 *
 * Order: temporary file beside the target, its size, its data, sync, the target's name (only if nothing has it),
 * the temporary name removed, the directory synced. So the target's name stands for the whole disk or for nothing; a
 * failure or a crash leaves at most the temporary file, and a failure removes that too.
 */

import { link, lstat, open, rename, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import process from 'node:process';

import type { DiskExtent } from './disk-reader.js';
import { messageOf, PortableError, systemErrorCode, throwIfCancelled } from './errors.js';

/** How far a long call is. */
export interface PortableProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** What long calls take besides their request. */
export interface LongCallOptions {
  /** Told how far the call is after each piece of work. */
  readonly onProgress?: (progress: PortableProgress) => void;
  /** Stops the call: it rejects with `CANCELLED` and leaves nothing behind. */
  readonly signal?: AbortSignal;
}

/** What a restore wrote. */
export interface RestoreSummary {
  readonly sizeBytes: number;
  /** Bytes written as data; the rest of the file is holes. */
  readonly bytesWritten: number;
}

/** Writes extents that cover a disk of `sizeBytes` to a new file. Throws `TARGET_EXISTS`, `IO_FAILED`, `CANCELLED`. */
export async function writeNewFile(
  targetPath: string,
  sizeBytes: number,
  extents: AsyncIterable<DiskExtent>,
  options: LongCallOptions,
): Promise<RestoreSummary> {
  const target = resolve(targetPath);
  const directory = dirname(target);
  throwIfCancelled(options.signal, 'the restore');
  const { handle, temporary } = await onTarget(target, async () => {
    // Looked at first so that a long restore does not end in vain; what decides is `publish`.
    if (await exists(target)) throw targetExists(target);
    return createTemporary(directory);
  });
  try {
    let bytesWritten: number;
    try {
      bytesWritten = await writeExtents(handle, target, sizeBytes, extents, options);
    } finally {
      await handle.close();
    }
    await onTarget(target, () => publish(temporary, target));
    return { sizeBytes, bytesWritten };
  } catch (error) {
    await removeQuietly(temporary);
    throw error;
  }
}

/** A new file with a name that nothing had; files left by a crash are passed over. */
async function createTemporary(
  directory: string,
): Promise<{ readonly handle: FileHandle; readonly temporary: string }> {
  for (let attempt = 0; ; attempt += 1) {
    const temporary = join(directory, `.stillpoint-${process.pid}-${attempt}.tmp`);
    try {
      return { handle: await open(temporary, 'wx'), temporary };
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw error;
    }
  }
}

async function writeExtents(
  handle: FileHandle,
  target: string,
  sizeBytes: number,
  extents: AsyncIterable<DiskExtent>,
  options: LongCallOptions,
): Promise<number> {
  let bytesWritten = 0;
  await onTarget(target, () => handle.truncate(sizeBytes));
  for await (const extent of extents) {
    throwIfCancelled(options.signal, 'the restore');
    const length = extent.kind === 'data' ? extent.bytes.length : extent.length;
    if (extent.kind === 'data') {
      await onTarget(target, () => writeAll(handle, extent.bytes, extent.offset));
      bytesWritten += length;
    }
    options.onProgress?.({ doneBytes: extent.offset + length, totalBytes: sizeBytes });
  }
  throwIfCancelled(options.signal, 'the restore');
  await onTarget(target, () => handle.sync());
  return bytesWritten;
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}

/** Gives the file its name unless something has that name, durably. */
async function publish(temporary: string, target: string): Promise<void> {
  const isWhole = await claimName(temporary, target);
  // From here on the name is ours to take away again.
  try {
    if (isWhole) await unlink(temporary);
    else await rename(temporary, target);
    await syncDirectory(dirname(target));
  } catch (error) {
    await removeQuietly(target);
    throw error;
  }
}

/**
 * Takes the target's name: for the whole file, or, on a file system without hard links, for an empty one that the
 * whole file replaces next. Returns which.
 */
async function claimName(temporary: string, target: string): Promise<boolean> {
  try {
    await link(temporary, target);
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error;
    await (await open(target, 'wx')).close();
    return false;
  }
}

/** Removes a file on the way out of a failure, which is what the caller is told of. */
async function removeQuietly(path: string): Promise<void> {
  await unlink(path).catch(() => undefined);
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Runs a step on the target; what the file system refuses becomes a coded error. */
async function onTarget<T>(target: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (error instanceof PortableError) throw error;
    if (systemErrorCode(error) === 'EEXIST') throw targetExists(target);
    throw new PortableError('IO_FAILED', `${target} cannot be written: ${messageOf(error)}`, { target }, error);
  }
}

function targetExists(target: string): PortableError {
  const message = `${basename(target)} exists already in ${dirname(target)}; a restore never writes over anything`;
  return new PortableError('TARGET_EXISTS', message, { target });
}
