/** Keeps a restore point from being deleted, and lets it go again. */

import type { CommandContext } from '../context.js';
import type { RestorePoint } from '../../index.js';
import { withStore } from '../opening.js';

export interface HoldRequest {
  readonly point: string;
  /** Null: take the hold away. */
  readonly reason: string | null;
}

/** Holds a point, or takes its hold away. */
export async function hold(context: CommandContext, request: HoldRequest): Promise<RestorePoint> {
  const { point, reason } = request;
  return withStore(context, (store) => (reason === null ? store.unholdPoint(point) : store.holdPoint(point, reason)));
}
