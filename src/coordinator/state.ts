/**
 * The states of a restore point and the ways between them.
 *
 *            +------------ the capture failed or was cancelled --------------> (none)
 *            |
 *   (none) -> creating -> cut -> copied -> deleting -> (none)
 *                |         |        |         ^
 *                |         +--------|---------+
 *                +------- scan -----^
 *
 * From `copied` back to `cut` leads one way: the manifest is lost while the log still has the cut.
 *
 * - creating: the record is there, the caller has no answer. No manifest may be published without it.
 * - cut: the cut is durable and the caller has its answer; the content is read from the write log. Only managed disks.
 * - copied: the manifest is durable. A scan goes here at once and is answered then.
 * - deleting: the manifest goes or is gone; the point is never read again.
 * - failed: the point was acknowledged and its manifest is lost or damaged, or a crash came between its cut and its
 *   answer. It can be deleted, and it is `copied` again when its manifest comes back.
 *
 * The states and the table are complete; what a crash leaves is settled in `on-open.ts`.
 */

import { StillpointError } from '../store/errors.js';
import type { PointFailure, PointRecord, PointState } from '../catalog/record.js';

/** What a point may become from each state; `none` means that its record goes. */
const ways: Readonly<Record<PointState, readonly (PointState | 'none')[]>> = {
  creating: ['cut', 'copied', 'failed', 'none'],
  cut: ['copied', 'deleting', 'failed'],
  copied: ['cut', 'deleting', 'failed'],
  deleting: ['none'],
  failed: ['copied', 'deleting'],
};

/** Whether a point may go from one state to the other in one step. */
export function isWay(from: PointState, to: PointState | 'none'): boolean {
  return ways[from].includes(to);
}

/** The record in its next state. A way that is not in the table is a defect: `INTERNAL`. */
export function moved(point: PointRecord, to: PointState, failure: PointFailure | null = null): PointRecord {
  checkWay(point, to);
  if ((to === 'failed') !== (failure !== null)) {
    throw new StillpointError('INTERNAL', `a failed point has a failure, and no other has: ${point.id}`, {
      pointId: point.id,
    });
  }
  return { ...point, state: to, failure };
}

/** Proves that a point's record may go. */
export function checkWay(point: PointRecord, to: PointState | 'none'): void {
  if (isWay(point.state, to)) return;
  const message = `the restore point ${point.id} cannot go from ${point.state} to ${to}`;
  throw new StillpointError('INTERNAL', message, { pointId: point.id, from: point.state, to });
}
