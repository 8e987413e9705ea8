/** Captures all disks of a machine as one restore point. */

import { progressOf, type CommandContext } from '../context.js';
import type { RestorePoint } from '../../index.js';
import type { ConsistencyMode } from '../../store/units.js';
import { withStore } from '../opening.js';

export interface CaptureRequest {
  readonly machine: string;
  /** Null: the time of the capture. */
  readonly name: string | null;
  /** Null: `default`. */
  readonly collection: string | null;
  /** Null: the best that the machine gives. */
  readonly consistency: ConsistencyMode | null;
  /** Roles of disks to leave out. */
  readonly exclude: readonly string[];
  /** The caller vouches that block devices do not change. */
  readonly frozen: boolean;
  /** Wait until managed disks are copied, too. */
  readonly wait: boolean;
}

/** Captures a machine; the point exists and is durable when this resolves, also when its copy goes on later. */
export async function capture(context: CommandContext, request: CaptureRequest): Promise<RestorePoint> {
  return withStore(context, async (store) => {
    const point = await store.capture(request.machine, {
      name: request.name ?? undefined,
      collection: request.collection ?? undefined,
      consistency: request.consistency ?? undefined,
      exclude: request.exclude,
      frozen: request.frozen,
      signal: context.signal,
      onProgress: progressOf(context, `capture ${request.machine}`),
    });
    if (!request.wait) return point;
    return point.copied({ signal: context.signal, onProgress: progressOf(context, `copy ${point.reference}`) });
  });
}
