/**
 * The deletion of a restore point: catalog `deleting` -> manifest removed, durable -> record removed.
 *
 * In this order because a record without a manifest is finished at the next open, while a manifest without a record
 * would be nobody's. Space is given back by the collector.
 */

import type { Catalog } from '../catalog/catalog.js';
import { keyOf, type PointRecord } from '../catalog/record.js';
import { StillpointError } from '../store/errors.js';
import type { Engine } from '../native/engine.js';
import type { PointId } from '../store/units.js';
import { checkWay, moved } from './state.js';

/** Deletes a point that nobody else is deleting. Errors: `POINT_NOT_FOUND`, `POINT_BUSY`. */
export async function deletePoint(engine: Engine, catalog: Catalog, id: PointId, reference: string): Promise<void> {
  const deleting = await catalog.transact((view) => {
    const point = view.point(id);
    if (point === undefined) {
      throw new StillpointError('POINT_NOT_FOUND', `there is no restore point ${reference}`, { point: reference });
    }
    // It stays `deleting` when an earlier attempt failed on the way; this one goes on.
    if (point.state === 'deleting') return { changes: [], result: point };
    const next: PointRecord = moved(point, 'deleting');
    return { changes: [{ put: next }], result: next };
  });
  await engine.removePoint(id);
  checkWay(deleting, 'none');
  await catalog.transact(() => ({ changes: [{ remove: keyOf(deleting) }], result: null }));
}
