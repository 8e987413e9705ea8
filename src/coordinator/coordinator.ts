/**
 * Decides when: what may run beside what, which point is meant, and in which order catalog and engine are asked.
 *
 * The gate lets one `collect` after the other pass; it runs beside everything else (docs/concurrency.md). Claims keep two
 * captures of one machine and two deletions of one point apart, and are told at once rather than after a wait.
 */

import type { Catalog, CatalogProblem } from '../catalog/catalog.js';
import { lossCode } from '../catalog/finding.js';
import type { MachineRecord, PointRecord } from '../catalog/record.js';
import { findDisk, findMachine, findPoint } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import type {
  CollectReport,
  CollectRequest,
  Control,
  DiffCursor,
  DiskReference,
  Engine,
  RestoreReport,
  VerifyReport,
} from '../native/engine.js';
import type { Clock } from '../store/clock.js';
import { isStillpointError, StillpointError } from '../store/errors.js';
import { newId, type Random } from '../store/random.js';
import { toCollectionId, toDiskId, toMachineId, toPointId, type MachineId, type PointId } from '../store/units.js';
import { capture, type CapturePlan } from './capture.js';
import { deletePoint } from './delete-point.js';
import { cancelled, Gate } from './gate.js';
import {
  changeMachine,
  createMachine,
  deleteMachine,
  type MachineChangePlan,
  type MachinePlan,
  type Makings,
} from './machines.js';

/** What a coordinator stands on. */
export interface CoordinatorParts {
  readonly engine: Engine;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
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
  readonly #deleting = new Set<PointId>();

  constructor(parts: CoordinatorParts) {
    this.#parts = parts;
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

  deleteMachine(name: string): Promise<null> {
    const { engine, catalog } = this.#parts;
    return engine.withReserve(() => catalog.transact((view) => deleteMachine(view, name)));
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
      const makings = {
        nowMs: clock.nowMs(),
        pointId: () => toPointId(newId(random)),
        collectionId: () => toCollectionId(newId(random)),
      };
      return capture(engine, catalog, plan, makings, control);
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
      engine.withReserve(() => deletePoint(engine, catalog, point.id, name)),
    );
  }

  /** Bytes of a disk restore point. */
  async read(named: NamedDisk, offset: number, length: number): Promise<Uint8Array> {
    return this.#parts.engine.read(this.#readable(named), offset, length);
  }

  /** Restores a disk restore point. */
  async restore(
    named: NamedDisk,
    target: { readonly targetPath: string; readonly overwrite: boolean; readonly sync: boolean },
    control: Control,
  ): Promise<RestoreReport> {
    if (control.signal?.aborted === true) throw cancelled(control.signal);
    return this.#parts.engine.restore({ ...this.#readable(named), ...target }, control);
  }

  /** Opens a diff; both points stay readable until the cursor is closed. */
  async diff(
    before: NamedDisk,
    after: NamedDisk,
    granularityBytes: number | null,
    control: Control,
  ): Promise<DiffCursor> {
    if (control.signal?.aborted === true) throw cancelled(control.signal);
    return this.#parts.engine.diff(this.#readable(before), this.#readable(after), granularityBytes, control);
  }

  /** Checks everything that is stored, and the catalog's files. */
  async verify(readData: boolean, control: Control): Promise<Verified> {
    if (control.signal?.aborted === true) throw cancelled(control.signal);
    const report = await this.#parts.engine.verify({ readData }, control);
    return { report, catalogProblems: await this.#parts.catalog.check() };
  }

  /** Gives back the space of what no point needs, beside whatever else runs; after other collections. */
  async collect(request: CollectRequest, control: Control): Promise<CollectReport> {
    this.#checkWritable();
    return this.#gate.run(control.signal, () => this.#parts.engine.collect(request, control));
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

  /** The engine's names for a disk of a point whose content is there. */
  #readable({ point: reference, role }: NamedDisk): DiskReference {
    const point = findPoint(this.view, reference);
    const name = this.view.referenceOf(point);
    if (point.state === 'deleting') {
      throw new StillpointError('POINT_BUSY', `the restore point ${name} is being deleted`, {
        point: name,
        state: point.state,
      });
    }
    if (point.failure !== null) {
      throw new StillpointError(lossCode(point), `${name} cannot be read: ${point.failure.message}`, { point: name });
    }
    return { pointId: point.id, diskId: findDisk(this.view, point, role).id };
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
