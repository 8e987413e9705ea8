/** Lists and restores without the engine: the reader written from the format document alone. */

import { progressOf, type CommandContext } from '../context.js';
import type { PortableStore } from '../../portable/index.js';
import { restoreInto, type WantedDisk } from '../../store/target-directory.js';
import { roleIn } from '../roles.js';
import type { RestoreResult } from './restore.js';

export type PortablePoint = ReturnType<PortableStore['points']>[number];

export interface PortableRestoreRequest {
  readonly point: string;
  /** Null where the point has only one. */
  readonly disk: string | null;
  /** A new file; an absolute path. */
  readonly to: string;
}

/** Disks to new files `ROLE.raw` in a directory, which is made if it does not exist; `disks` null for all. */
export interface PortableRestoreDisksRequest {
  readonly point: string;
  readonly disks: readonly string[] | null;
  /** An absolute path. */
  readonly toDirectory: string;
}

export interface PortablePointList {
  readonly value: readonly PortablePoint[];
}

async function withPortable<Result>(
  context: CommandContext,
  use: (store: PortableStore) => Promise<Result>,
): Promise<Result> {
  context.signal.throwIfAborted();
  const store = await context.library.openPortable(context.storePath);
  try {
    if (store.problems().length > 0) context.onFindings(store.problems());
    return await use(store);
  } finally {
    await store.close();
  }
}

/** `VM/COLLECTION/POINT` of a point that the portable reader listed. */
export function portableReference(point: PortablePoint): string {
  return `${point.machine.name}/${point.collection.name}/${point.name}`;
}

function isNamed(point: PortablePoint, reference: string): boolean {
  const names = [point.id, portableReference(point), `${point.machine.name}/${point.name}`];
  return names.some((name) => name.toLowerCase() === reference.toLowerCase());
}

/** Lists the restore points that the store's manifests tell of. */
export async function portableList(context: CommandContext): Promise<PortablePointList> {
  return withPortable(context, async (store) => ({ value: store.points() }));
}

/** The captured disks of the given roles, each once; a role that the point has not is for the reader to refuse. */
function wantedDisks({ disks }: PortablePoint, roles: readonly string[] | null): readonly WantedDisk[] {
  const captured = disks.filter((disk) => !disk.excluded);
  if (roles === null) return captured;
  const found = roles.map((role) => captured.find((disk) => disk.role.toLowerCase() === role.toLowerCase()));
  return [...new Set(found.map((disk, index) => disk ?? { role: roles[index] ?? '', sizeBytes: 0 }))];
}

/** Restores disks of a point into a directory: all of them, or no file stays. Durable when this resolves. */
export async function portableRestoreDisks(
  context: CommandContext,
  request: PortableRestoreDisksRequest,
): Promise<RestoreResult> {
  const startedMs = context.clock.monotonicMs();
  return withPortable(context, async (store) => {
    const point = store.points().find((each) => isNamed(each, request.point));
    // A name that fits no point, or several, is for the reader to refuse.
    const disks = point === undefined ? [{ role: '', sizeBytes: 0 }] : wantedDisks(point, request.disks);
    const restored = await restoreInto(
      { directory: request.toDirectory, format: 'raw', overwrite: false, sync: true },
      disks,
      1, // it reads on this thread
      { signal: context.signal, onProgress: progressOf(context, `restore ${request.point}`) },
      ({ role }, { targetPath }, { signal, onProgress }) =>
        store.restoreDisk(request.point, role, targetPath, {
          ...(signal && { signal }),
          ...(onProgress && { onProgress }),
        }),
    );
    return {
      point: point === undefined ? request.point : portableReference(point),
      disks: restored,
      durationMs: Math.round(context.clock.monotonicMs() - startedMs),
    };
  });
}

/** Restores one disk to a new file, which is durable when this resolves. */
export async function portableRestore(
  context: CommandContext,
  request: PortableRestoreRequest,
): Promise<RestoreResult> {
  const startedMs = context.clock.monotonicMs();
  return withPortable(context, async (store) => {
    const point = store.points().find((each) => isNamed(each, request.point));
    const reference = point === undefined ? request.point : portableReference(point);
    // A name that fits no point, or several, is for the reader to refuse.
    const disk = request.disk ?? (point === undefined ? '' : roleIn({ reference, disks: point.disks }, null));
    const { sizeBytes, bytesWritten } = await store.restoreDisk(request.point, disk, request.to, {
      signal: context.signal,
      onProgress: progressOf(context, `restore ${disk}`),
    });
    return {
      point: reference,
      disks: [{ disk, to: request.to, sizeBytes, bytesWritten }],
      durationMs: Math.round(context.clock.monotonicMs() - startedMs),
    };
  });
}
