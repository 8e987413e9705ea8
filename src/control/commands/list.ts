/** Lists restore points. */

import type { CommandContext } from '../context.js';
import type { RestorePoint } from '../../index.js';
import { withStoreToLook } from '../opening.js';

export interface ListRequest {
  /** Null: of all machines. */
  readonly machine: string | null;
}

export interface PointList {
  readonly value: readonly RestorePoint[];
  readonly readOnly: boolean;
}

/** The points of one machine or of all, oldest first, machines by name. */
export async function list(context: CommandContext, request: ListRequest): Promise<PointList> {
  return withStoreToLook(context, async (store) => ({
    value: await store.restorePoints(request.machine ?? undefined),
    readOnly: store.readOnly,
  }));
}
