/** Lists and restores without the engine: the reader written from the format document alone. */

import { progressOf, type CommandContext } from '../context.js';
import type { PortableStore } from '../../portable/index.js';
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
