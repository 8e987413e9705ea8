/** Writes disks of a restore point to files or devices. */

import { progressOf, type CommandContext } from '../context.js';
import type { ImageFormat, MomentOption, RestoredDisk, RestoredMoment } from '../../index.js';
import { withStore } from '../opening.js';
import { roleIn } from '../roles.js';
import { lookUp } from './restore-live.js';

interface RestoreSettings {
  /** A point; with `at` a machine. */
  readonly point: string;
  /** Null: `point` is a point. */
  readonly at: MomentOption | null;
  /** Write over an existing file or block device, in place. */
  readonly overwrite: boolean;
  /** Make the result durable. */
  readonly sync: boolean;
}

/** One disk to a file or device; `disk` null where the point has only one. Paths are absolute. */
export interface RestoreDiskRequest extends RestoreSettings {
  readonly disk: string | null;
  readonly to: string;
  /** Null: `raw`. */
  readonly format: ImageFormat | null;
}

/** Disks to files `ROLE.FORMAT` in a directory, which is made if it does not exist; `disks` null for all. */
export interface RestoreDisksRequest extends RestoreSettings {
  readonly disks: readonly string[] | null;
  readonly toDirectory: string;
  /** Null: `raw`. */
  readonly format: ImageFormat | null;
}

export interface RestoreResult {
  /** VM/COLLECTION/POINT; with a moment the machine. */
  readonly point: string;
  /** There when a moment was asked for. */
  readonly at?: RestoredMoment;
  readonly disks: readonly RestoredDisk[];
  readonly durationMs: number;
}

/** `VM/POINT` of a point, for the progress line. */
function shortOf(reference: string): string {
  const [machine = '', , point] = reference.split('/');
  return point === undefined ? machine : `${machine}/${point}`;
}

/** Restores one disk. Throws `TARGET_EXISTS`, `TARGET_TOO_SMALL`, `TARGET_INVALID`. */
export async function restoreDisk(context: CommandContext, request: RestoreDiskRequest): Promise<RestoreResult> {
  const startedMs = context.clock.monotonicMs();
  return withStore(context, async (store) => {
    const point = await lookUp(store, { source: request.point, at: request.at });
    const disk = roleIn(point, request.disk);
    const { sizeBytes, bytesWritten, ...found } = await store.restore(point.reference, {
      ...(request.at === null ? {} : { at: request.at }),
      disk,
      to: request.to,
      format: request.format ?? undefined,
      overwrite: request.overwrite,
      sync: request.sync,
      signal: context.signal,
      onProgress: progressOf(context, `restore ${disk}`),
    });
    return {
      point: point.reference,
      ...found,
      disks: [{ disk, to: request.to, sizeBytes, bytesWritten }],
      durationMs: Math.round(context.clock.monotonicMs() - startedMs),
    };
  });
}

/** Restores disks of a point into a directory: all of them, or no new file stays. Throws as `restoreDisk` does. */
export async function restoreDisks(context: CommandContext, request: RestoreDisksRequest): Promise<RestoreResult> {
  const startedMs = context.clock.monotonicMs();
  return withStore(context, async (store) => {
    const point = await lookUp(store, { source: request.point, at: request.at });
    const { disks, ...found } = await store.restoreDisks(point.reference, {
      ...(request.at === null ? {} : { at: request.at }),
      directory: request.toDirectory,
      disks: request.disks ?? undefined,
      format: request.format ?? undefined,
      overwrite: request.overwrite,
      sync: request.sync,
      signal: context.signal,
      onProgress: progressOf(context, `restore ${shortOf(point.reference)}`),
    });
    return { point: point.reference, ...found, disks, durationMs: Math.round(context.clock.monotonicMs() - startedMs) };
  });
}
