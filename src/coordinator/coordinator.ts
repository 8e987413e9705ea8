/**
 * Decides when: what may run beside what, which point is meant, and in which order catalog and engine are asked.
 *
 * The gate lets one `collect` after the other pass; it runs beside everything else (docs/concurrency.md). Claims keep two
 * captures of one machine and two deletions of one point apart, and are told at once rather than after a wait.
 */

import type { Catalog, CatalogProblem } from '../catalog/catalog.js';
import { keyOf, type MachineRecord, type PointRecord } from '../catalog/record.js';
import { findMachine, findPoint } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import type {
  CollectReport,
  CollectRequest,
  Control,
  DiffCursor,
  Engine,
  Finding,
  Statistics,
  VerifyReport,
} from '../native/engine.js';
import type { Clock } from '../store/clock.js';
import { isStillpointError, StillpointError } from '../store/errors.js';
import { newId, type Random } from '../store/random.js';
import { toCollectionId, toDiskId, toMachineId, toPointId, type MachineId, type PointId } from '../store/units.js';
import { UsedNumbers, type CaptureMakings, type CapturePlan } from './begin-capture.js';
import { capture } from './capture.js';
import { Background } from './background.js';
import { captureManaged } from './capture-managed.js';
import { Copies, type CopyEnd } from './copies.js';
import { deletePoint, finishDelete } from './delete-point.js';
import { StoreExports } from './exports.js';
import { cancelled, Gate } from './gate.js';
import {
  changeMachine,
  createMachine,
  deleteMachine,
  type MachineChangePlan,
  type MachinePlan,
  type Makings,
} from './machines.js';
import { ManagedDisks } from './managed-disks.js';
import { settleReopened, type Unfinished } from './recover.js';
import { fencedFindings, unavailableFindings } from './settle-live.js';
import { atMoment, pointSource, readableDisk, type Source, type SourceName } from './sources.js';
import { Relief } from './relief.js';
import { Turns } from './turns.js';
import { failedLogs } from './unavailable.js';

/** What a coordinator stands on. */
export interface CoordinatorParts {
  readonly engine: Engine;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  /** Told of every background copy that ended. */
  readonly onCopyEnd?: (end: CopyEnd) => void;
}

/** A disk of a point, as a caller names it. */
export interface NamedDisk {
  readonly point: string;
  readonly role: string;
}

/** What a verification found, in the engine's words, and what is wrong with the catalog. */
export interface Verified {
  readonly report: VerifyReport;
  readonly catalogProblems: readonly CatalogProblem[];
}

/** The coordinator of one open store. */
export class Coordinator {
  readonly #parts: CoordinatorParts;
  readonly #gate = new Gate();
  readonly #capturing = new Set<MachineId>();
  readonly #numbers = new UsedNumbers();
  readonly #deleting = new Set<PointId>();
  /** Cuts that nobody knows and that are still there. */
  readonly #undropped = new Set<PointId>();

  readonly #turns = new Turns<MachineId>();
  readonly #background = new Background();
  /** Copies of points that are cut. */
  readonly copies: Copies;
  /** Managed disks and machines. */
  readonly disks: ManagedDisks;
  /** Told of writers without space. */
  readonly relief: Relief;

  constructor(parts: CoordinatorParts) {
    this.#parts = parts;
    const { engine, catalog, clock } = parts;
    this.copies = new Copies({
      engine,
      catalog,
      nowMs: () => clock.nowMs(),
      onEnd: parts.onCopyEnd ?? (() => undefined),
    });
    this.relief = new Relief({
      clock,
      pressure: () => engine.livePressure(),
      collect: () =>
        this.#background.run(
          async (signal) => void (await this.collect({ dryRun: false, bytesPerSecond: null }, { signal })),
        ),
    });
    this.disks = new ManagedDisks({
      copies: this.copies,
      engine,
      catalog,
      turns: this.#turns,
      makings: () => this.#makings(),
    });
  }

  get view(): CatalogView {
    return this.#parts.catalog.view;
  }

  createMachine(plan: MachinePlan): Promise<MachineRecord> {
    return this.#parts.catalog.transact((view) => createMachine(view, plan, this.#makings()));
  }

  changeMachine(name: string, plan: MachineChangePlan): Promise<MachineRecord> {
    return this.#parts.catalog.transact((view) => changeMachine(view, name, plan, this.#makings()));
  }

  async deleteMachine(name: string): Promise<void> {
    const { engine, catalog } = this.#parts;
    this.#checkWritable();
    const machine = findMachine(this.view, name);
    if (machine.kind === 'managed') await this.disks.deleteMachine(machine);
    else await engine.withReserve(() => catalog.transact((view) => deleteMachine(view, name)));
  }

  /** Captures a machine. The point is durable when it resolves. */
  async capture(plan: CapturePlan, control: Control): Promise<PointRecord> {
    const { engine, catalog, clock, random } = this.#parts;
    this.#checkWritable();
    const machine = findMachine(this.view, plan.machine);
    if (this.#capturing.has(machine.id)) {
      throw new StillpointError('CAPTURE_IN_PROGRESS', `the machine ${machine.name} is being captured`, {
        machine: machine.name,
      });
    }
    if (control.signal?.aborted === true) throw cancelled(control.signal);
    return claimed(this.#capturing, machine.id, () => {
      const makings: CaptureMakings = {
        nowMs: clock.nowMs(),
        numbers: this.#numbers,
        pointId: () => toPointId(newId(random)),
        collectionId: () => toCollectionId(newId(random)),
      };
      if (machine.kind === 'external') return capture(engine, catalog, plan, makings, control);
      return this.#turns.run(machine.id, async () => {
        const point = await captureManaged(engine, catalog, plan, makings, control);
        this.copies.enqueue(point);
        return point;
      });
    });
  }

  /** Deletes a point. Its manifest is gone durably when it resolves. */
  async deletePoint(reference: string): Promise<void> {
    const { engine, catalog } = this.#parts;
    this.#checkWritable();
    const point = this.#findForDelete(reference);
    const name = this.view.referenceOf(point);
    if (this.#deleting.has(point.id)) {
      throw new StillpointError('POINT_BUSY', `the restore point ${name} is being deleted`, {
        point: name,
        state: 'deleting',
      });
    }
    await claimed(this.#deleting, point.id, () =>
      this.copies.whenCopied(() =>
        engine.withReserve(() =>
          deletePoint(engine, catalog, point.id, name, (deleting) => this.copies.cancel(deleting)),
        ),
      ),
    );
    this.copies.retry();
    this.relief.deleted();
  }

  /** Holds a point: it cannot be deleted. A hold that is there gets the new reason. */
  hold(reference: string, reason: string): Promise<PointRecord> {
    const createdMs = this.#parts.clock.nowMs();
    return this.#parts.catalog.transact((view) => {
      const point = findPoint(view, reference);
      if (point.state === 'deleting') {
        const name = view.referenceOf(point);
        throw new StillpointError('POINT_BUSY', `the restore point ${name} is being deleted`, {
          point: name,
          state: point.state,
        });
      }
      return { changes: [{ put: { type: 'hold', pointId: point.id, reason, createdMs } }], result: point };
    });
  }

  /** Takes a hold away; nothing happens where there is none. */
  unhold(reference: string): Promise<PointRecord> {
    return this.#parts.catalog.transact((view) => {
      const point = findPoint(view, reference);
      const hold = view.hold(point.id);
      return { changes: hold === undefined ? [] : [{ remove: keyOf(hold) }], result: point };
    });
  }

  /** Goes on with what an earlier process left. */
  resume(unfinished: Unfinished): void {
    const { engine, catalog } = this.#parts;
    if (engine.readOnly) return;
    for (const machine of this.view.machines())
      for (const point of this.view.pointsOf(machine.id)) if (point.state === 'cut') this.copies.enqueue(point);
    const finish = (work: (signal: AbortSignal) => Promise<void>): void => {
      void this.#background.run(async (signal) => {
        await this.copies.whenCopied(() => work(signal));
        this.copies.retry(); // younger points of the machine wait for this
      });
    };
    for (const id of unfinished.releases) finish(() => engine.releaseCut(id));
    for (const id of unfinished.drops) {
      this.#undropped.add(id);
      finish(async (signal) => {
        await engine.dropCut(id, { signal });
        this.#undropped.delete(id);
      });
    }
    for (const id of unfinished.deletions) {
      const point = this.view.point(id);
      if (point === undefined) continue;
      finish((signal) => claimed(this.#deleting, id, () => finishDelete(engine, catalog, point, { signal })));
    }
  }

  /** Opens the write logs that could not be opened, or take no more writes, and goes on with what waited for them. */
  async reopenLogs(): Promise<readonly Finding[]> {
    const { engine, catalog } = this.#parts;
    this.#checkWritable();
    const failed = (): string[] => failedLogs(engine).map(({ logId }) => logId);
    const before = failed();
    if (before.length === 0) return [];
    const machines = before.map(toMachineId);
    const reopen = async (): ReturnType<typeof settleReopened> => {
      const known = engine.unclean().length;
      await engine.reopenLogs();
      const after = new Set(failed());
      const opened = new Set(before.filter((logId) => !after.has(logId)));
      return settleReopened(
        engine,
        catalog,
        (logId) => opened.has(logId),
        (id) => this.#deleting.has(id),
        known,
      );
    };
    const { findings, unfinished } = await this.#inTurns(machines, () => this.copies.whileStopped(machines, reopen));
    this.resume(unfinished);
    // What could not be deleted or dropped for fear that one of the logs needs it.
    const deleting = [...this.view.records()].flatMap((each) => {
      return each.type === 'point' && each.state === 'deleting' && !this.#deleting.has(each.id) ? [each.id] : [];
    });
    this.resume({ deletions: deleting, drops: [...this.#undropped], releases: [] });
    return [...findings, ...unavailableFindings(engine), ...fencedFindings(engine)];
  }

  /** Runs work in the turns of several machines, taken in one order by all who take several. */
  #inTurns<T>(machines: readonly MachineId[], work: () => Promise<T>): Promise<T> {
    const [first, ...others] = [...machines].sort();
    if (first === undefined) return work();
    return this.#turns.run(first, () => this.#inTurns(others, work));
  }

  /** Stops what runs in the background; it goes on at the next open. */
  async close(): Promise<void> {
    await Promise.all([this.copies.close(), this.#background.close()]);
  }

  /** The exports of an NBD server. */
  exports(): StoreExports {
    const { view, disks } = this;
    return new StoreExports({ view, disks, background: this.#background, readOnly: this.#parts.engine.readOnly });
  }

  /** Bytes of a disk restore point. */
  async read(named: NamedDisk, offset: number, length: number): Promise<Uint8Array> {
    return this.#parts.engine.read(readableDisk(this.view, named.point, named.role), offset, length);
  }

  /** Runs work on the content of a point, or of a machine at a moment, which stays readable until the work has ended. */
  async fromSource<T>(named: SourceName, use: (source: Source, engine: Engine) => Promise<T>): Promise<T> {
    const { engine, random } = this.#parts;
    if (named.at === null) return use(pointSource(this.view, named.name), engine);
    this.#checkWritable();
    const parts = {
      engine,
      view: this.view,
      background: this.#background,
      newPointId: () => toPointId(newId(random)),
    };
    return atMoment(parts, named.name, named.at, (source) => use(source, engine));
  }

  /** Opens a diff; both points stay readable until the cursor is closed. */
  async diff(
    before: NamedDisk,
    after: NamedDisk,
    granularityBytes: number | null,
    control: Control,
  ): Promise<DiffCursor> {
    if (control.signal?.aborted === true) throw cancelled(control.signal);
    const [older, newer] = [before, after].map(({ point, role }) => readableDisk(this.view, point, role));
    if (older === undefined || newer === undefined) throw new TypeError('two disks were named');
    return this.#parts.engine.diff(older, newer, granularityBytes, control);
  }

  /** Checks everything that is stored, and the catalog's files. */
  async verify(readData: boolean, control: Control): Promise<Verified> {
    if (control.signal?.aborted === true) throw cancelled(control.signal);
    const report = await this.#parts.engine.verify({ readData }, control);
    return { report, catalogProblems: await this.#parts.catalog.check() };
  }

  /** Counts what points take, told apart by these machines. */
  async statistics(machines: readonly MachineRecord[], control: Control): Promise<Statistics> {
    if (control.signal?.aborted === true) throw cancelled(control.signal);
    const points = machines.map((machine) => this.view.pointsOf(machine.id).map(({ id }) => id));
    return this.#parts.engine.statistics(points, control);
  }

  /** Gives back the space of what no point needs, beside whatever else runs; after other collections. */
  async collect(request: CollectRequest, control: Control): Promise<CollectReport> {
    this.#checkWritable();
    const report = await this.#gate.run(control.signal, () => this.#parts.engine.collect(request, control));
    this.copies.retry();
    return report;
  }

  #checkWritable(): void {
    if (this.#parts.engine.readOnly) throw new StillpointError('STORE_READ_ONLY', 'the store is open for reading only');
  }

  #makings(): Makings {
    const { clock, random } = this.#parts;
    return {
      nowMs: clock.nowMs(),
      machineId: () => toMachineId(newId(random)),
      diskId: () => toDiskId(newId(random)),
    };
  }

  /** A point that is still being captured is busy for whoever wants to delete it, not unknown. */
  #findForDelete(reference: string): PointRecord {
    try {
      return findPoint(this.view, reference);
    } catch (error) {
      const creating = isStillpointError(error, 'POINT_NOT_FOUND') ? this.#findCreating(reference) : undefined;
      if (creating === undefined) throw error;
      const name = this.view.referenceOf(creating);
      throw new StillpointError('POINT_BUSY', `the restore point ${name} is being captured`, {
        point: name,
        state: 'creating',
      });
    }
  }

  #findCreating(reference: string): PointRecord | undefined {
    const [machineName = '', ...rest] = reference.toLowerCase().split('/');
    const machine = this.view.machineNamed(machineName);
    if (machine === undefined) return undefined;
    return this.view.pointsOf(machine.id).find((point) => {
      const names = this.view.referenceOf(point).toLowerCase().split('/').slice(1);
      return point.state === 'creating' && names.slice(-rest.length).join('/') === rest.join('/');
    });
  }
}

/** Runs work while something is claimed. */
async function claimed<K, T>(claims: Set<K>, key: K, work: () => Promise<T>): Promise<T> {
  claims.add(key);
  try {
    return await work();
  } finally {
    claims.delete(key);
  }
}
