/**
 * The capture of a machine with managed disks: steps 1 to 4 of the commit protocol (DESIGN section 3). The background
 * copy is `copies.ts`.
 *
 *   1  catalog: point `creating`, with the disks as they are attached now
 *   2  engine: cut record appended                                  <- writers may go on
 *   3  engine: log durable past the cut
 *   4  catalog: point `cut`, with LSN, sizes and consistency        <- the caller is answered; the point can be used
 *
 * Whatever fails before step 4 removes the record first and the cut then: a cut without a record is dropped at the next
 * open, while a record without its cut would look like a loss. Where the record cannot be removed (a fenced catalog, which
 * may hold `cut` already) the cut stays, and the next open decides.
 */

import type { Catalog } from '../catalog/catalog.js';
import { encodeCutDetail } from '../catalog/detail.js';
import type { PointRecord } from '../catalog/record.js';
import type { Control, Engine } from '../native/engine.js';
import { beginCapture, forget, type Begun, type CaptureMakings, type CapturePlan } from './begin-capture.js';
import { withSizes } from './capture.js';
import { checkGoing } from './gate.js';
import { moved } from './state.js';

/**
 * Captures a managed machine. The caller has made sure that nobody else captures it or changes its disks meanwhile.
 *
 * Errors: those of a capture; `LAYERS_FULL`, `LOG_FENCED`, `LOG_DAMAGED`.
 */
export async function captureManaged(
  engine: Engine,
  catalog: Catalog,
  plan: CapturePlan,
  makings: CaptureMakings,
  { signal }: Control,
): Promise<PointRecord> {
  const begun = await catalog.transact((view) => beginCapture(view, plan, makings));
  try {
    return await cutAndRecord(engine, catalog, begun, signal);
  } catch (error) {
    const isForgotten = await forget(engine, catalog, begun.point);
    // A log that is fenced drops it when it is opened again: no record names it then.
    if (isForgotten) await engine.dropCut(begun.point.id).catch(() => undefined);
    throw error;
  }
}

async function cutAndRecord(
  engine: Engine,
  catalog: Catalog,
  { machine, collection, point }: Begun,
  signal: AbortSignal | undefined,
): Promise<PointRecord> {
  checkGoing(signal);
  const cut = await engine.cut({
    machineId: machine.id,
    pointId: point.id,
    collection: collection.name,
    name: point.name,
    detail: encodeCutDetail(collection.id, point),
  });
  await cut.durable();
  checkGoing(signal);
  const next: PointRecord = { ...moved(point, 'cut'), lsn: cut.lsn, disks: withSizes(point.disks, cut.disks) };
  return engine.withReserve(() => catalog.transact(() => ({ changes: [{ put: next }], result: next })));
}
