/**
 * The deletion of a restore point: catalog `deleting` -> its copy stopped -> manifest removed, durable -> its cut dropped
 * -> record removed.
 *
 * In this order because a record without a manifest or a cut is finished at the next open, while a manifest without a
 * record would be nobody's. Space is given back by the collector. A cut that a disk of another machine stands on is
 * copied to its roots first, without a manifest: the point is hidden all that time.
 */

import type { Catalog } from '../catalog/catalog.js';
import { keyOf, type PointRecord } from '../catalog/record.js';
import { StillpointError } from '../store/errors.js';
import type { Control, Engine } from '../native/engine.js';
import type { PointId } from '../store/units.js';
import { checkWay, moved } from './state.js';
import { checkAvailable } from './unavailable.js';

/**
 * Deletes a point that nobody else is deleting. `stopCopy` resolves once nothing publishes the point any more.
 *
 * Errors: `POINT_NOT_FOUND`, `POINT_HELD`, `LOG_UNAVAILABLE`.
 */
export async function deletePoint(
  engine: Engine,
  catalog: Catalog,
  id: PointId,
  reference: string,
  stopCopy: (point: PointRecord) => Promise<void>,
): Promise<void> {
  const deleting = await catalog.transact((view) => {
    const point = view.point(id);
    if (point === undefined) {
      throw new StillpointError('POINT_NOT_FOUND', `there is no restore point ${reference}`, { point: reference });
    }
    const hold = view.hold(id);
    if (hold !== undefined) {
      throw new StillpointError('POINT_HELD', `${reference} is held: ${hold.reason}`, {
        point: reference,
        reason: hold.reason,
      });
    }
    checkForgettable(engine, catalog, point);
    // It stays `deleting` when an earlier attempt failed on the way; this one goes on.
    if (point.state === 'deleting') return { changes: [], result: point };
    const next: PointRecord = moved(point, 'deleting');
    return { changes: [{ put: next }], result: next };
  });
  await stopCopy(deleting);
  await finishDelete(engine, catalog, deleting);
}

/** Everything behind the record `deleting`; may be called again wherever it stopped. */
export async function finishDelete(
  engine: Engine,
  catalog: Catalog,
  deleting: PointRecord,
  control?: Control,
): Promise<void> {
  checkForgettable(engine, catalog, deleting);
  await engine.removePoint(deleting.id);
  await dropCutOf(engine, deleting.id, control);
  checkWay(deleting, 'none');
  await catalog.transact(() => ({ changes: [{ remove: keyOf(deleting) }], result: null }));
}

/** Drops a point's cut, if a log has one: a log that is damaged keeps nobody from deleting what was copied out of it. */
export async function dropCutOf(engine: Engine, id: PointId, control?: Control): Promise<void> {
  if (engine.pendingCuts().some(({ pointId }) => pointId === id)) await engine.dropCut(id, control);
}

/**
 * Proves that a point's cut will be known without the point's record. It is not where the catalog was rebuilt without the
 * machine's log: what that has then is taken for lost, but for what has a record. Errors: `LOG_UNAVAILABLE`.
 */
function checkForgettable(engine: Engine, { view }: Catalog, { machineId, sequence }: PointRecord): void {
  if (sequence > view.reservedSequence(machineId)) checkAvailable(engine, view, machineId);
}
