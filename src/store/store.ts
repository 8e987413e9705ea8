/** The open store: checks what callers pass, asks the coordinator, and says it in the caller's words. */

import type { Catalog } from '../catalog/catalog.js';
import { catalogFinding, lostPointFindings } from '../catalog/finding.js';
import { findMachine, findPoint } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import { Coordinator } from '../coordinator/coordinator.js';
import type { PointRecord } from '../catalog/record.js';
import type { CollectReport, Engine, Finding as EngineFinding, RestoreReport, StoreInfo } from '../native/engine.js';
import { text } from './checks.js';
import type { Clock } from './clock.js';
import { StoreDiff } from './diff.js';
import { StillpointError } from './errors.js';
import type {
  Diff,
  Finding,
  RestoreDisksReport,
  RestorePoint,
  Store,
  StoreStatus,
  VerifyReport,
  VirtualMachine,
} from './handles.js';
import {
  capturePlan,
  collectPlan,
  diffPlan,
  machineChangePlan,
  machinePlan,
  readPlan,
  restoreDisksPlan,
  restorePlan,
  statisticsPlan,
  verifyPlan,
} from './plans.js';
import { presentFinding, presentMachine, presentPoint, presentWork } from './present.js';
import type { Random } from './random.js';
import type {
  CaptureOptions,
  CollectOptions,
  CreateVirtualMachineRequest,
  DiffOptions,
  ReadOptions,
  RestoreDisksOptions,
  RestoreOptions,
  StatisticsOptions,
  VerifyOptions,
  VirtualMachineChange,
} from './requests.js';
import { RunningCalls } from './running-calls.js';
import { presentStatistics, type StoreStatistics } from './statistics.js';
import { restoreInto } from './target-directory.js';

/**
 * Disks of a point that are restored at a time. One is not enough: file systems let one writer at a time into a file,
 * and where a copy in memory takes longer than decoding, the threads of one restore wait for each other.
 */
const disksAtOnce = 2;

/** What an open store stands on; it closes engine and catalog when it is closed. */
export interface StoreParts {
  readonly path: string;
  readonly engine: Engine;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly random: Random;
  readonly findings: readonly EngineFinding[];
}

/** A store that is open. */
export class OpenStore implements Store {
  readonly info: StoreInfo;
  readonly readOnly: boolean;
  readonly findings: readonly Finding[];
  readonly #parts: StoreParts;
  readonly #coordinator: Coordinator;
  readonly #calls = new RunningCalls();
  readonly #openDiffs = new Set<StoreDiff>();
  #closing: Promise<void> | null = null;

  constructor(parts: StoreParts) {
    this.#parts = parts;
    this.#coordinator = new Coordinator(parts);
    this.info = parts.engine.info;
    this.readOnly = parts.engine.readOnly;
    this.findings = parts.findings.map((finding) => presentFinding(this.#view, finding));
  }

  get #view(): CatalogView {
    return this.#parts.catalog.view;
  }

  createVirtualMachine(request: CreateVirtualMachineRequest): Promise<VirtualMachine> {
    return this.#calls.run(async () => {
      return presentMachine(this.#view, await this.#coordinator.createMachine(machinePlan(request)));
    });
  }

  updateVirtualMachine(name: string, change: VirtualMachineChange): Promise<VirtualMachine> {
    return this.#calls.run(async () => {
      return presentMachine(
        this.#view,
        await this.#coordinator.changeMachine(text('name', name), machineChangePlan(change)),
      );
    });
  }

  deleteVirtualMachine(name: string): Promise<void> {
    return this.#calls.run(async () => {
      await this.#coordinator.deleteMachine(text('name', name));
    });
  }

  virtualMachines(): Promise<VirtualMachine[]> {
    return this.#calls.run(async () => this.#view.machines().map((machine) => presentMachine(this.#view, machine)));
  }

  virtualMachine(name: string): Promise<VirtualMachine> {
    return this.#calls.run(async () => presentMachine(this.#view, findMachine(this.#view, text('name', name))));
  }

  capture(machine: string, options: CaptureOptions = {}): Promise<RestorePoint> {
    return this.#calls.run(async () => {
      const { plan, control } = capturePlan(machine, options);
      return this.#present(await this.#coordinator.capture(plan, control));
    });
  }

  restorePoints(machine?: string): Promise<RestorePoint[]> {
    return this.#calls.run(async () => {
      const view = this.#view;
      const machines = machine === undefined ? view.machines() : [findMachine(view, text('machine', machine))];
      return machines.flatMap(({ id }) => view.pointsOf(id).flatMap((point) => presentPoint(view, point) ?? []));
    });
  }

  restorePoint(reference: string): Promise<RestorePoint> {
    return this.#calls.run(async () => this.#present(findPoint(this.#view, text('reference', reference))));
  }

  diff(before: string, after: string, options: DiffOptions): Diff {
    const plan = diffPlan(before, after, options, this.info.chunkBytes);
    return new StoreDiff({
      granularity: plan.granularityBytes ?? this.info.chunkBytes,
      signal: plan.control.signal,
      open: () => this.#coordinator.diff(plan.before, plan.after, plan.granularityBytes, plan.control),
      run: (step) => this.#calls.run(step),
      opened: (diff) => this.#openDiffs.add(diff),
      ended: (diff) => this.#openDiffs.delete(diff),
    });
  }

  read(point: string, options: ReadOptions): Promise<Uint8Array> {
    return this.#calls.run(async () => {
      const plan = readPlan(point, options);
      return this.#coordinator.read(plan, plan.offset, plan.length);
    });
  }

  restore(point: string, options: RestoreOptions): Promise<RestoreReport> {
    return this.#calls.run(async () => {
      const plan = restorePlan(point, options);
      return this.#coordinator.restore(plan, plan.target, plan.control);
    });
  }

  restoreDisks(point: string, options: RestoreDisksOptions): Promise<RestoreDisksReport> {
    return this.#calls.run(async () => {
      const { roles, target, control, ...plan } = restoreDisksPlan(point, options);
      const { sync } = target;
      return this.#coordinator.restoreDisks(plan.point, roles, control, async (disks, engine) => ({
        disks: await restoreInto(target, disks, disksAtOnce, control, ({ reference }, place, ofDisk) =>
          engine.restore({ ...reference, ...place, sync }, ofDisk),
        ),
      }));
    });
  }

  deletePoint(reference: string): Promise<void> {
    return this.#calls.run(async () => this.#coordinator.deletePoint(text('reference', reference)));
  }

  collect(options: CollectOptions = {}): Promise<CollectReport> {
    return this.#calls.run(async () => {
      const { request, control } = collectPlan(options);
      return this.#coordinator.collect(request, control);
    });
  }

  verify(options: VerifyOptions = {}): Promise<VerifyReport> {
    return this.#calls.run(async () => {
      const { readData, control } = verifyPlan(options);
      const { report, catalogProblems } = await this.#coordinator.verify(readData, control);
      const lost = lostPointFindings(this.#view);
      // Of a lost point the catalog knows which bytes are hit; the engine knows of its manifest at most.
      const files = new Set(lost.map(({ file }) => file));
      const seen = report.findings.filter(({ file }) => !files.has(file));
      const findings = [...seen, ...lost, ...catalogProblems.map(catalogFinding)];
      return { ...report, findings: findings.map((finding) => presentFinding(this.#view, finding)) };
    });
  }

  status(): Promise<StoreStatus> {
    return this.#calls.run(async () => {
      const { engine, path } = this.#parts;
      const usage = await engine.usage();
      const machines = this.#view.machines().length;
      const work = presentWork(this.#view);
      return {
        info: this.info,
        path,
        readOnly: this.readOnly,
        machines,
        points: this.#view.pointCount,
        work,
        ...usage,
      };
    });
  }

  statistics(options: StatisticsOptions = {}): Promise<StoreStatistics> {
    return this.#calls.run(async () => {
      const { machine, control } = statisticsPlan(options);
      const asked = this.#view.machines();
      const shown = new Set(machine === null ? asked : [findMachine(this.#view, machine)]);
      const all = await this.#coordinator.statistics(asked, control);
      return presentStatistics(this.#view, asked, shown, all, await this.#parts.engine.usage());
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#calls.shut();
    // Diffs that are between two steps run no call, and hold the engine and with it the lock.
    for (const diff of this.#openDiffs) diff.endWhenIdle();
    await this.#calls.drained();
    try {
      await this.#parts.catalog.close();
    } finally {
      // The engine holds the store's lock, so it goes last, and it goes whatever became of the catalog.
      await this.#parts.engine.close();
    }
  }

  #present(point: PointRecord): RestorePoint {
    const presented = presentPoint(this.#view, point);
    if (presented !== null) return presented;
    throw new StillpointError('POINT_BUSY', `${this.#view.referenceOf(point)} is being captured`, {
      point: point.name,
    });
  }
}
