/**
 * The capture of a machine with managed disks: steps 1 to 4 of the commit protocol (DESIGN section 3). The background
 * copy is `copies.ts`.
 *
 *   1  catalog: point `creating`, with the disks as they are attached now
 *   2  engine: cut record appended                                  <- writers may go on
 *   3  engine: log durable past the cut
 *   4  catalog: point `cut`, with LSN, sizes and consistency        <- the caller is answered; the point can be used
 *
 * Steps 2 and 3 go on beside the writing of step 1 where an earlier batch has reserved the point's sequence, so for all
 * captures of a machine but its first (decision 0022). A crash may then leave a cut without a record; its sequence tells
 * the next open that nobody was told of it, and the point is `failed`, as one with a record would be.
 *
 * Where step 1 fails its cut is dropped. Whatever fails later removes the record first and the cut then: a cut without a
 * record is dropped at the next open, while a record without its cut would look like a loss. Where the record cannot be
 * removed (a fenced catalog, which may hold `cut` already) the cut stays, and the next open decides.
 */

import type { Catalog, Decision } from '../catalog/catalog.js';
import { encodeCutDetail } from '../catalog/detail.js';
import type { PointRecord } from '../catalog/record.js';
import type { CatalogView } from '../catalog/view.js';
import type { Control, Cut, Engine } from '../native/engine.js';
import {
  beginCapture,
  forget,
  sequenceRecord,
  type Begun,
  type CaptureMakings,
  type CapturePlan,
} from './begin-capture.js';
import { withSizes } from './capture.js';
import { checkGoing } from './gate.js';
import { moved } from './state.js';
import { checkAvailable, checkHasLog } from './unavailable.js';

/**
 * Captures a managed machine. The caller has made sure that nobody else captures it or changes its disks meanwhile.
 *
 * Errors: those of a capture; `LAYERS_FULL`, `LOG_FENCED`, `LOG_DAMAGED`, `LOG_UNAVAILABLE`; `DISK_NOT_FOUND` where the machine's log
 * is lost.
 */
export async function captureManaged(
  engine: Engine,
  catalog: Catalog,
  plan: CapturePlan,
  makings: CaptureMakings,
  { signal }: Control,
): Promise<PointRecord> {
  checkGoing(signal);
  const cutting = new Cutting(engine);
  const begun = await begin(engine, catalog, plan, makings, cutting);
  const { point } = begun;
  try {
    checkGoing(signal);
    const cut = await cutting.start(begun);
    checkGoing(signal);
    const next: PointRecord = { ...moved(point, 'cut'), lsn: cut.lsn, disks: withSizes(point.disks, cut.disks) };
    return await engine.withReserve(() => catalog.transact(() => ({ changes: [{ put: next }], result: next })));
  } catch (error) {
    // A log that is fenced drops it when it is opened again: no record names it then.
    if (await forget(engine, catalog, point)) await cutting.drop();
    throw error;
  }
}

/** Step 1, with steps 2 and 3 beside it where they may begin. */
async function begin(
  engine: Engine,
  catalog: Catalog,
  plan: CapturePlan,
  makings: CaptureMakings,
  cutting: Cutting,
): Promise<Begun> {
  const decide = (view: CatalogView): Decision<Begun> => {
    const decision = beginCapture(view, plan, makings);
    const { result: begun } = decision;
    // Before a number is given: it would tell that the catalog knows the cuts of a log that nobody has seen yet.
    checkAvailable(engine, view, begun.machine.id);
    if (!begun.isReserved) {
      checkHasLog(engine, begun.machine);
      return decision;
    }
    return { ...decision, isInterim: true, beside: () => void cutting.start(begun) };
  };
  try {
    return await catalog.transact(decide);
  } catch (error) {
    // The record says `creating`, if it is there after all: no need for the cut.
    const point = await cutting.drop();
    if (point !== null) {
      makings.numbers.noteUsed(point);
      await useUp(engine, catalog, point);
    }
    throw error;
  }
}

/**
 * Notes that the number of a point was given to a cut, where the record could not be written that says so: the log shows that
 * cut to the next open, and no other may have its number. Where this cannot be written either, this process knows it, and the next
 * open finds the cut.
 */
async function useUp(engine: Engine, catalog: Catalog, { machineId, sequence }: PointRecord): Promise<void> {
  const decide = (view: CatalogView): Decision<null> => {
    const isUsed = view.machine(machineId) === undefined || view.lastSequence(machineId) >= sequence;
    return { changes: isUsed ? [] : [{ put: sequenceRecord(machineId, sequence) }], result: null };
  };
  await engine.withReserve(() => catalog.transact(decide)).catch(() => null);
}

/** Steps 2 and 3 of one capture. */
class Cutting {
  readonly #engine: Engine;
  #started: { readonly point: PointRecord; readonly cut: Promise<Cut> } | null = null;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Cuts, the first time that it is called; resolves when the log is durable past the cut. */
  start(begun: Begun): Promise<Cut> {
    if (this.#started === null) {
      const cut = cutDurably(this.#engine, begun);
      cut.catch(() => undefined); // who calls again learns of it
      this.#started = { point: begun.point, cut };
    }
    return this.#started.cut;
  }

  /** Drops the cut, where one was begun; gives its point. */
  async drop(): Promise<PointRecord | null> {
    if (this.#started === null) return null;
    const { point, cut } = this.#started;
    await cut.catch(() => undefined);
    await this.#engine.dropCut(point.id).catch(() => undefined);
    return point;
  }
}

async function cutDurably(engine: Engine, { machine, collection, point }: Begun): Promise<Cut> {
  const cut = await engine.cut({
    machineId: machine.id,
    pointId: point.id,
    collection: collection.name,
    name: point.name,
    detail: encodeCutDetail(collection.id, point),
  });
  await cut.durable();
  return cut;
}
