/** Writes disks of a restore point to files or devices. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { StillpointError } from '../../store/errors.js';
import { progressOf, type CommandContext } from '../context.js';
import type { Store } from '../../index.js';
import { withStore } from '../opening.js';
import { roleIn } from '../roles.js';

interface RestoreSettings {
  readonly point: string;
  /** Write over an existing file or block device, in place. */
  readonly overwrite: boolean;
  /** Make the result durable. */
  readonly sync: boolean;
}

/** One disk to a file or device; `disk` null where the point has only one. Paths are absolute. */
export interface RestoreDiskRequest extends RestoreSettings {
  readonly disk: string | null;
  readonly to: string;
}

/** Every captured disk to a file `ROLE.raw` in a directory, which is made if it does not exist. */
export interface RestoreAllRequest extends RestoreSettings {
  readonly toDirectory: string;
}

export interface RestoredDisk {
  readonly disk: string;
  readonly to: string;
  readonly sizeBytes: number;
  /** Bytes written as data; the rest is holes. */
  readonly bytesWritten: number;
}

export interface RestoreResult {
  /** VM/COLLECTION/POINT. */
  readonly point: string;
  readonly disks: readonly RestoredDisk[];
  readonly durationMs: number;
}

async function restoreOne(
  context: CommandContext,
  store: Store,
  settings: RestoreSettings,
  point: string,
  place: { readonly disk: string; readonly to: string },
): Promise<RestoredDisk> {
  const { sizeBytes, bytesWritten } = await store.restore(point, {
    ...place,
    overwrite: settings.overwrite,
    sync: settings.sync,
    signal: context.signal,
    onProgress: progressOf(context, `restore ${place.disk}`),
  });
  return { ...place, sizeBytes, bytesWritten };
}

/** Restores one disk. Throws `TARGET_EXISTS`, `TARGET_TOO_SMALL`, `TARGET_INVALID`. */
export async function restoreDisk(context: CommandContext, request: RestoreDiskRequest): Promise<RestoreResult> {
  const startedMs = context.clock.monotonicMs();
  return withStore(context, async (store) => {
    const point = await store.restorePoint(request.point);
    const disk = roleIn(point, request.disk);
    const restored = await restoreOne(context, store, request, point.reference, { disk, to: request.to });
    return {
      point: point.reference,
      disks: [restored],
      durationMs: Math.round(context.clock.monotonicMs() - startedMs),
    };
  });
}

/** Restores every captured disk of a point, one after the other; each keeps the engine's threads busy by itself. */
export async function restoreAll(context: CommandContext, request: RestoreAllRequest): Promise<RestoreResult> {
  const startedMs = context.clock.monotonicMs();
  return withStore(context, async (store) => {
    const point = await store.restorePoint(request.point);
    await makeDirectory(request.toDirectory);
    const disks: RestoredDisk[] = [];
    for (const { role } of point.disks.filter((disk) => !disk.excluded)) {
      const place = { disk: role, to: join(request.toDirectory, `${role}.raw`) };
      disks.push(await restoreOne(context, store, request, point.reference, place));
    }
    return { point: point.reference, disks, durationMs: Math.round(context.clock.monotonicMs() - startedMs) };
  });
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StillpointError('TARGET_INVALID', `cannot make the directory ${path}: ${reason}`, { path }, error);
  }
}
