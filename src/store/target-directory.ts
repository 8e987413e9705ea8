/**
 * Restores several disks into one directory, each to `ROLE.raw`: all of them, or none of the new files stays.
 *
 * Every target is looked at before the first is written, so that a long restore does not end at a file that was there
 * all the time. What decides is still the restore itself, which gives a name only where there is none. Files that were
 * there before and are written over cannot be taken back.
 */

import { lstat, mkdir, open, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';

import { systemError } from '../catalog/system-error.js';
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
 * Restores disks one after the other; each keeps the engine's threads busy by itself.
 *
 * Errors: `TARGET_EXISTS` before anything is written, `TARGET_INVALID`, `PERMISSION_DENIED`, `NO_SPACE`, and what
 * `restoreDisk` rejects with. Files and directories that this call made are then removed, as far as that can be done.
 */
export async function restoreInto<Disk extends WantedDisk>(
  target: TargetDirectory,
  disks: readonly Disk[],
  control: Control,
  restoreDisk: (disk: Disk, target: DiskTarget, control: Control) => Promise<RestoreReport>,
): Promise<readonly RestoredDisk[]> {
  const places = disks.map((disk) => ({ disk, to: path.join(target.directory, `${disk.role}.raw`) }));
  const existing = new Set<string>();
  for (const { to } of places) if (await isThere(to)) existing.add(to);
  const [first] = existing;
  if (first !== undefined && !target.overwrite) {
    throw new StillpointError('TARGET_EXISTS', `${first} exists already; no disk was restored`, { path: first });
  }
  const totalBytes = disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
  const firstMade = await makeDirectory(target);
  const restored: RestoredDisk[] = [];
  let doneBefore = 0;
  try {
    for (const { disk, to } of places) {
      const before = doneBefore;
      const { onProgress } = control;
      const ofAll: Control = {
        ...control,
        ...(onProgress && {
          onProgress: ({ doneBytes }) => {
            onProgress({ doneBytes: before + doneBytes, totalBytes });
          },
        }),
      };
      const report = await restoreDisk(disk, { targetPath: to, overwrite: existing.has(to) }, ofAll);
      restored.push({ disk: disk.role, to, ...report });
      doneBefore += disk.sizeBytes;
    }
    return restored;
  } catch (error) {
    // What led here says more than a removal that fails after it.
    for (const { to } of restored) if (!existing.has(to)) await rm(to, { force: true }).catch(() => undefined);
    if (firstMade !== null) await removeEmpty(target.directory, firstMade).catch(() => undefined);
    throw error;
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
