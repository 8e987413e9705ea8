/**
 * Restores several disks into one directory, each to `ROLE.FORMAT`: all of them, or none of the new files stays.
 *
 * Every target is looked at before the first is written, so that a long restore does not end at a file that was there
 * all the time. What decides is still the restore itself, which gives a name only where there is none. Files that were
 * there before and are written over cannot be taken back.
 */

import { lstat, mkdir, open, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';

import { systemError } from '../catalog/system-error.js';
import type { ImageFormat } from '../images/formats.js';
import type { Control, RestoreReport } from '../native/engine.js';
import { StillpointError } from './errors.js';

/** A disk to restore. */
export interface WantedDisk {
  readonly role: string;
  readonly sizeBytes: number;
}

/** A disk that was restored. */
export interface RestoredDisk extends RestoreReport {
  /** Its role. */
  readonly disk: string;
  /** Absolute path of the file. */
  readonly to: string;
}

/** Where the disks go, and how. */
export interface TargetDirectory {
  /** Absolute path; made, with what is missing above it, if it does not exist. */
  readonly directory: string;
  /** What the files are; their names end with it. */
  readonly format: ImageFormat;
  /** Write over files that are there. */
  readonly overwrite: boolean;
  /** Make the names of directories that are made durable. */
  readonly sync: boolean;
}

/** One target, as the restore of its disk gets it. */
export interface DiskTarget {
  readonly targetPath: string;
  /** Whether it is there, to be written over. */
  readonly overwrite: boolean;
}

/**
 * Restores disks, at most `atOnce` of them at a time.
 *
 * Errors: `TARGET_EXISTS` before anything is written, `TARGET_INVALID`, `PERMISSION_DENIED`, `NO_SPACE`, and what
 * `restoreDisk` rejects with. The others are then stopped, and files and directories that this call made are removed,
 * as far as that can be done.
 */
export async function restoreInto<Disk extends WantedDisk>(
  target: TargetDirectory,
  disks: readonly Disk[],
  atOnce: number,
  control: Control,
  restoreDisk: (disk: Disk, target: DiskTarget, control: Control) => Promise<RestoreReport>,
): Promise<readonly RestoredDisk[]> {
  const places = disks.map((disk) => ({ disk, to: path.join(target.directory, `${disk.role}.${target.format}`) }));
  const existing = new Set<string>();
  for (const { to } of places) if (await isThere(to)) existing.add(to);
  const [first] = existing;
  if (first !== undefined && !target.overwrite) {
    throw new StillpointError('TARGET_EXISTS', `${first} exists already; no disk was restored`, { path: first });
  }
  const firstMade = await makeDirectory(target);
  const restored = new Map<Disk, RestoredDisk>();
  const progress = new ProgressOfAll(disks, control);
  const failed = new AbortController();
  const { signal } = control;
  const stop = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  // The lanes share one iterator: each takes the next disk when it is done with its last one.
  const waiting = places.values();
  const lane = async (): Promise<void> => {
    for (const { disk, to } of waiting) {
      if (failed.signal.aborted) return;
      const ofDisk: Control = { ...progress.of(disk), signal: stop };
      const report = await restoreDisk(disk, { targetPath: to, overwrite: existing.has(to) }, ofDisk);
      progress.ended(disk);
      restored.set(disk, { disk: disk.role, to, ...report });
    }
  };
  try {
    await allSettled(Array.from({ length: Math.min(atOnce, disks.length) }, lane), () => {
      failed.abort();
    });
    return disks.flatMap((disk) => restored.get(disk) ?? []);
  } catch (error) {
    // What led here says more than a removal that fails after it.
    for (const { to } of restored.values()) if (!existing.has(to)) await rm(to, { force: true }).catch(() => undefined);
    if (firstMade !== null) await removeEmpty(target.directory, firstMade).catch(() => undefined);
    throw error;
  }
}

/** Waits for all, whatever becomes of them, and rejects with what the first to fail rejected with. */
async function allSettled(promises: readonly Promise<void>[], onFailure: () => void): Promise<void> {
  const failures: unknown[] = [];
  const noted = promises.map((promise) =>
    promise.catch((error: unknown) => {
      failures.push(error);
      onFailure();
    }),
  );
  await Promise.all(noted);
  if (failures.length > 0) throw failures[0];
}

/** Progress of several disks as that of one. */
class ProgressOfAll<Disk extends WantedDisk> {
  readonly #onProgress: Control['onProgress'];
  readonly #totalBytes: number;
  readonly #doneBytes = new Map<Disk, number>();

  constructor(disks: readonly Disk[], { onProgress }: Control) {
    this.#onProgress = onProgress;
    this.#totalBytes = disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
  }

  /** The part of one disk's control that tells its progress. */
  of(disk: Disk): Pick<Control, 'onProgress'> {
    const onProgress = this.#onProgress;
    if (onProgress === undefined) return {};
    return {
      onProgress: ({ doneBytes }) => {
        this.#doneBytes.set(disk, doneBytes);
        const all = [...this.#doneBytes.values()].reduce((sum, bytes) => sum + bytes, 0);
        onProgress({ doneBytes: all, totalBytes: this.#totalBytes });
      },
    };
  }

  /** Counts a disk as done; its size is what of it counts then. */
  ended(disk: Disk): void {
    this.#doneBytes.set(disk, disk.sizeBytes);
  }
}

async function isThere(file: string): Promise<boolean> {
  try {
    await lstat(file);
    return true;
  } catch (cause) {
    // With a file where a directory should be, making the directory says what is wrong.
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR'))
      return false;
    throw systemError(cause, file);
  }
}

/** Makes the directory and gives the highest one that had to be made; null when it was there. */
async function makeDirectory({ directory, sync }: TargetDirectory): Promise<string | null> {
  let firstMade: string | null;
  try {
    firstMade = (await mkdir(directory, { recursive: true })) ?? null;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code !== 'EEXIST' && code !== 'ENOTDIR') throw systemError(cause, directory);
    throw new StillpointError('TARGET_INVALID', `${directory} is not a directory`, { path: directory }, cause);
  }
  if (sync && firstMade !== null)
    for (const made of upTo(directory, firstMade)) await syncDirectory(path.dirname(made));
  return firstMade;
}

/** A directory and those above it, up to one of them. */
function* upTo(directory: string, highest: string): Generator<string> {
  for (let at = directory; at.length >= highest.length; at = path.dirname(at)) yield at;
}

async function removeEmpty(directory: string, highest: string): Promise<void> {
  for (const made of upTo(directory, highest)) await rmdir(made);
}

async function syncDirectory(directory: string): Promise<void> {
  try {
    const handle = await open(directory, 'r');
    await handle.sync().finally(() => handle.close());
  } catch (cause) {
    throw systemError(cause, directory);
  }
}
