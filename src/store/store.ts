/** The open store: checks what callers pass, asks the coordinator, and says it in the caller's words. */

import type { Catalog } from '../catalog/catalog.js';
import { catalogFinding, lostPointFindings } from '../catalog/finding.js';
import { findMachine, findPoint } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import { Coordinator } from '../coordinator/coordinator.js';
import { checkGoing } from '../coordinator/gate.js';
import type { CopyEnd } from '../coordinator/copies.js';
import type { ManagedMachinePlan } from '../coordinator/managed-disks.js';
import type { Unfinished } from '../coordinator/recover.js';
import type { MachineRecord, ManagedDiskRecord, PointRecord } from '../catalog/record.js';
import type { CollectReport, Control, Engine, Finding as EngineFinding, StoreInfo } from '../native/engine.js';
import { capturedPoint, machineHandle } from './captured.js';
import { text } from './checks.js';
import type { Clock } from './clock.js';
import { StoreDiff } from './diff.js';
import { OpenDisk, presentDisk } from './disk.js';
import type { Disk, DiskInfo } from './disk-handle.js';
import { isStillpointError, StillpointError } from './errors.js';
import { restoreToFile, withContent } from './images.js';
import { NbdServers, type NbdOptions, type NbdServer } from './nbd.js';
import { Events, type EventOptions, type StoreEvent } from './events.js';
import type {
  CapturedPoint,
  Diff,
  DiskRestoreReport,
  FileRestoreReport,
  Finding,
  InPlaceRestoreReport,
  MachineRestoreReport,
  RestoreDisksReport,
  RestorePoint,
  Store,
  StoreStatus,
  VerifyReport,
  VirtualMachine,
  VirtualMachineHandle,
} from './handles.js';
import {
  capturePlan,
  collectPlan,
  createDiskPlan,
  diffPlan,
  eventsPlan,
  importDiskPlan,
  longCallPlan,
  machineChangePlan,
  machinePlan,
  nbdPlan,
  pointDiskPlan,
  readPlan,
  restoreDisksPlan,
  restoreInPlacePlan,
  restorePlan,
  restoreToDiskPlan,
  restoreToMachinePlan,
  statisticsPlan,
  verifyPlan,
  type PlannedMachine,
} from './plans.js';
import { presentFailedLogs, presentFinding, presentMachine, presentPoint, presentWork } from './present.js';
import type { Random } from './random.js';
import type {
  CaptureOptions,
  CollectOptions,
  CreateDiskRequest,
  CreateVirtualMachineRequest,
  DiffOptions,
  ImportDiskRequest,
  LongCallOptions,
  ReadOptions,
  RestoreDisksOptions,
  RestoreInPlaceOptions,
  RestoreOptions,
  RestoreToDiskOptions,
  RestoreToMachineOptions,
  StatisticsOptions,
  VerifyOptions,
  VirtualMachineChange,
} from './requests.js';
import { diskOf, inPlace, momentOf, toDisk, toMachine } from './restores.js';
import { RunningCalls } from './running-calls.js';
import { presentStatistics, type StoreStatistics } from './statistics.js';
import { restoreInto } from './target-directory.js';
import { toMachineId } from './units.js';

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
  readonly unfinished: Unfinished;
}

/** A store that is open. */
export class OpenStore implements Store {
  readonly info: StoreInfo;
  readonly readOnly: boolean;
  readonly findings: readonly Finding[];
  readonly #parts: StoreParts;
  readonly #coordinator: Coordinator;
  readonly #calls = new RunningCalls();
  readonly #events: Events;
  readonly #nbd: NbdServers;
  readonly #openDiffs = new Set<StoreDiff>();
  #closing: Promise<void> | null = null;

  constructor(parts: StoreParts) {
    this.#parts = parts;
    const { engine, clock } = parts;
    this.#events = new Events(this.#uncleanLogs(), clock, {
      pressure: () => engine.livePressure(),
      failedLogs: () => presentFailedLogs(this.#view, engine),
    });
    this.#coordinator = new Coordinator({ ...parts, onCopyEnd: (end) => this.#tellCopy(end) });
    this.#nbd = new NbdServers(engine);
    this.info = parts.engine.info;
    this.readOnly = parts.engine.readOnly;
    this.findings = parts.findings.map((finding) => presentFinding(this.#view, finding));
    this.#coordinator.resume(parts.unfinished);
  }

  get #view(): CatalogView {
    return this.#parts.catalog.view;
  }

  createVirtualMachine(
    request: CreateVirtualMachineRequest,
    options: LongCallOptions = {},
  ): Promise<VirtualMachineHandle> {
    return this.#calls.run(async () => {
      const made = machinePlan(request);
      const control = longCallPlan(options);
      const machine =
        made.kind === 'external'
          ? await this.#coordinator.createMachine(made.plan)
          : await this.#coordinator.disks.createMachine(await this.#withImages(made.plan, control), control);
      return this.#machine(machine);
    });
  }

  updateVirtualMachine(name: string, change: VirtualMachineChange): Promise<VirtualMachineHandle> {
    return this.#calls.run(async () =>
      this.#machine(await this.#coordinator.changeMachine(text('name', name), machineChangePlan(change))),
    );
  }

  deleteVirtualMachine(name: string): Promise<void> {
    return this.#calls.run(async () => this.#coordinator.deleteMachine(text('name', name)));
  }

  virtualMachines(): Promise<VirtualMachine[]> {
    return this.#calls.run(async () =>
      this.#machines().map((machine) => presentMachine(this.#view, this.#parts.engine, machine)),
    );
  }

  virtualMachine(name: string): Promise<VirtualMachineHandle> {
    return this.#calls.run(async () => this.#machine(findMachine(this.#view, text('name', name))));
  }

  createDisk(request: CreateDiskRequest): Promise<Disk> {
    return this.#calls.run(async () => {
      return this.#disk(await this.#coordinator.disks.create(createDiskPlan(request), {}));
    });
  }

  importDisk(request: ImportDiskRequest): Promise<Disk> {
    return this.#calls.run(async () => {
      const { disk, control } = importDiskPlan(request);
      const found = await withContent(this.#parts.engine, disk, control.signal);
      return this.#disk(await this.#coordinator.disks.create(found, control));
    });
  }

  cloneDisk(name: string, pointDisk: string): Promise<Disk> {
    return this.#calls.run(async () => {
      const { source, role } = pointDiskPlan(pointDisk);
      const wanted = text('name', name);
      return this.#disk(
        await this.#coordinator.fromSource(source, (found) => toDisk(this.#coordinator, found, role, wanted)),
      );
    });
  }

  disk(name: string): Promise<Disk> {
    return this.#calls.run(async () => this.#disk(this.#coordinator.disks.find(text('name', name))));
  }

  disks(): Promise<DiskInfo[]> {
    return this.#calls.run(async () =>
      this.#view
        .disks()
        .flatMap((disk) =>
          disk.kind === 'managed' && disk.state === 'ready' ? [presentDisk(this.#view, this.#parts.engine, disk)] : [],
        ),
    );
  }

  reopenLogs(): Promise<Finding[]> {
    return this.#calls.run(async () => {
      const known = this.#parts.engine.unclean().length;
      const findings = await this.#coordinator.reopenLogs();
      for (const event of this.#uncleanLogs().slice(known)) this.#events.tell(event);
      return findings.map((finding) => presentFinding(this.#view, finding));
    });
  }

  capture(machine: string, options: CaptureOptions = {}): Promise<CapturedPoint> {
    return this.#calls.run(async () => {
      const { plan, control } = capturePlan(machine, options);
      const point = await this.#coordinator.capture(plan, control);
      const { copies } = this.#coordinator;
      return capturedPoint(
        this.#present(point),
        (waiting: LongCallOptions = {}) => this.#copied(point, waiting),
        () => copies.percentOf(this.#view.point(point.id) ?? point),
      );
    });
  }

  restorePoints(machine?: string): Promise<RestorePoint[]> {
    return this.#calls.run(async () => {
      const view = this.#view;
      const machines = machine === undefined ? this.#machines() : [findMachine(view, text('machine', machine))];
      return machines.flatMap(({ id }) =>
        view.pointsOf(id).flatMap((point) => presentPoint(view, point, this.#coordinator.copies) ?? []),
      );
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

  restore(point: string, options: RestoreOptions): Promise<FileRestoreReport> {
    return this.#calls.run(async () => {
      const { source, role, target, format, control } = restorePlan(point, options);
      checkGoing(control.signal);
      return this.#coordinator.fromSource(source, async (found, engine) => {
        const disk = diskOf(this.#view, found, role);
        return { ...(await restoreToFile(engine, disk, { ...target, format }, control)), ...momentOf(found) };
      });
    });
  }

  restoreDisks(point: string, options: RestoreDisksOptions): Promise<RestoreDisksReport> {
    return this.#calls.run(async () => {
      const { source, roles, target, control } = restoreDisksPlan(point, options);
      checkGoing(control.signal);
      const { format, sync } = target;
      return this.#coordinator.fromSource(source, async (found, engine) => {
        const wanted = roles?.map((role) => diskOf(this.#view, found, role)) ?? found.disks;
        const disks = await restoreInto(target, [...new Set(wanted)], disksAtOnce, control, (disk, place, ofDisk) =>
          restoreToFile(engine, disk, { ...place, format, sync }, ofDisk),
        );
        return { disks, ...momentOf(found) };
      });
    });
  }

  restoreToDisk(point: string, options: RestoreToDiskOptions): Promise<DiskRestoreReport> {
    return this.#calls.run(async () => {
      const { source, role, name } = restoreToDiskPlan(point, options);
      return this.#coordinator.fromSource(source, async (found) => {
        const disk = await toDisk(this.#coordinator, found, role, name);
        return { disk: presentDisk(this.#view, this.#parts.engine, disk), ...momentOf(found) };
      });
    });
  }

  restoreInPlace(point: string, options: RestoreInPlaceOptions = {}): Promise<InPlaceRestoreReport> {
    return this.#calls.run(async () => {
      const { source, roles } = restoreInPlacePlan(point, options);
      return this.#coordinator.fromSource(source, async (found) => ({
        ...(await inPlace(this.#coordinator, found, roles)),
        ...momentOf(found),
      }));
    });
  }

  restoreToMachine(point: string, options: RestoreToMachineOptions): Promise<MachineRestoreReport> {
    return this.#calls.run(async () => {
      const { source, ...place } = restoreToMachinePlan(point, options);
      return this.#coordinator.fromSource(source, async (found) => {
        const machine = await toMachine(this.#coordinator, found, place);
        return { machine: presentMachine(this.#view, this.#parts.engine, machine), ...momentOf(found) };
      });
    });
  }

  holdPoint(reference: string, reason: string): Promise<RestorePoint> {
    return this.#calls.run(async () => {
      return this.#present(await this.#coordinator.hold(text('reference', reference), text('reason', reason)));
    });
  }

  unholdPoint(reference: string): Promise<RestorePoint> {
    return this.#calls.run(async () => this.#present(await this.#coordinator.unhold(text('reference', reference))));
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
      const machines = this.#machines().length;
      const work = presentWork(this.#view, this.#coordinator.copies);
      const disks = this.#view.disks().filter((disk) => disk.kind === 'managed' && disk.state !== 'scratch').length;
      return {
        info: this.info,
        path,
        readOnly: this.readOnly,
        machines,
        points: this.#view.pointCount,
        disks,
        live: engine.livePressure(),
        work,
        failedLogs: presentFailedLogs(this.#view, engine),
        ...usage,
      };
    });
  }

  statistics(options: StatisticsOptions = {}): Promise<StoreStatistics> {
    return this.#calls.run(async () => {
      const { machine, control } = statisticsPlan(options);
      const asked = this.#machines();
      const shown = new Set(machine === null ? asked : [findMachine(this.#view, machine)]);
      const all = await this.#coordinator.statistics(asked, control);
      return presentStatistics(this.#view, asked, shown, all, await this.#parts.engine.usage());
    });
  }

  events(options: EventOptions = {}): AsyncIterable<StoreEvent> {
    const { intervalMs, signal } = eventsPlan(options);
    return this.#events.listen(intervalMs, signal);
  }

  serveNbd(options: NbdOptions): Promise<NbdServer> {
    return this.#calls.run(async () => this.#nbd.serve(nbdPlan(options), this.#coordinator.exports()));
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
    this.#parts.engine.liftLimits(); // or what waits for its disk's rates would hold up the end
    await this.#nbd.close();
    // Diffs that are between two steps run no call, and hold the engine and with it the lock.
    for (const diff of this.#openDiffs) diff.endWhenIdle();
    await this.#calls.drained();
    await this.#coordinator.close();
    this.#events.close();
    try {
      await this.#parts.catalog.close();
    } finally {
      // The engine holds the store's lock, so it goes last, and it goes whatever became of the catalog.
      await this.#parts.engine.close();
    }
  }

  /** The plan with its images looked at: what is wrong with one is said before anything is made. */
  async #withImages(plan: PlannedMachine, { signal }: Control): Promise<ManagedMachinePlan> {
    const make = [];
    for (const disk of plan.make) make.push(await withContent(this.#parts.engine, disk, signal));
    return { ...plan, make };
  }

  /** The machines that are there: none that is being created or deleted. */
  #machines(): MachineRecord[] {
    return this.#view.machines().filter(({ state }) => state === 'ready');
  }

  #machine(machine: MachineRecord): VirtualMachineHandle {
    return machineHandle(presentMachine(this.#view, this.#parts.engine, machine), (options) =>
      this.capture(machine.name, options),
    );
  }

  #disk(disk: ManagedDiskRecord): Disk {
    const { engine } = this.#parts;
    const coordinator = this.#coordinator;
    return new OpenDisk({ engine, view: this.#view, coordinator, calls: this.#calls }, disk);
  }

  /** Not one of the calls that `close` waits for: it ends them. */
  async #copied(point: PointRecord, options: LongCallOptions): Promise<RestorePoint> {
    const { signal, onProgress } = longCallPlan(options);
    if (this.#calls.isClosed) throw new StillpointError('STORE_CLOSED', 'the store was closed');
    return this.#present(await this.#coordinator.copies.copied(point.id, signal, onProgress));
  }

  #tellCopy({ reference, error }: CopyEnd): void {
    if (error === null) {
      this.#events.tell({ kind: 'copied', point: reference });
      return;
    }
    const code = isStillpointError(error) ? error.code : 'INTERNAL';
    const message = error instanceof Error ? error.message : 'it failed with no error';
    this.#events.tell({ kind: 'copyFailed', point: reference, code, message });
  }

  #uncleanLogs(): StoreEvent[] {
    return this.#parts.engine.unclean().map(({ machineId, ...log }) => {
      const machine = machineId === null ? null : (this.#view.machine(toMachineId(machineId))?.name ?? null);
      return { kind: 'unclean', machine, ...log };
    });
  }

  #present(point: PointRecord): RestorePoint {
    const presented = presentPoint(this.#view, point, this.#coordinator.copies);
    if (presented !== null) return presented;
    throw new StillpointError('POINT_BUSY', `${this.#view.referenceOf(point)} is being captured`, {
      point: point.name,
    });
  }
}
