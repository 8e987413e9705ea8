/**
 * Managed disks and machines: making, moving, growing and removing them.
 *
 * Making and removing take several steps, so the record says `creating` or `deleting` while they run, and the next open
 * undoes the one and finishes the other (`settle-live.ts`):
 *
 *   make    catalog: disks (and machine) `creating` -> disks durable -> log durable, disks attached -> catalog: `ready`
 *   remove  catalog: `deleting` -> disks detached, log gone; or the disk's log gone -> catalog: record gone
 *
 * Attaching, detaching, growing and resetting are one commit of the engine; the catalog follows, at the next open if need
 * be. What changes the disks of one machine, captures included, takes turns; what changes one disk excludes the like.
 */

import type { Catalog } from '../catalog/catalog.js';
import type { Json } from '../catalog/json.js';
import { checkName, folded, isSameName } from '../catalog/names.js';
import type { Change, MachineRecord, ManagedDiskRecord } from '../catalog/record.js';
import { findMachine } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import type { Control, DiskLimits, DiskReference, Engine, LiveDisk } from '../native/engine.js';
import { StillpointError } from '../store/errors.js';
import type { DiskId, MachineId } from '../store/units.js';
import type { Copies } from './copies.js';
import { disksPerMachineMax } from './limits.js';
import { checkEmpty, checkReady, type Makings } from './machines.js';
import { removeDisk, removeMachine } from './settle-live.js';
import type { Turns } from './turns.js';
import { checkAvailable, diskWaitsFor } from './unavailable.js';

/** Where a new disk's content comes from. */
export type NewContent =
  | { readonly kind: 'zeros'; readonly sizeBytes: number }
  | { readonly kind: 'point'; readonly from: DiskReference; readonly sizeBytes: number }
  | { readonly kind: 'image'; readonly path: string }
  | {
      readonly kind: 'filled';
      readonly sizeBytes: number;
      /** Writes the content of the disk, which reads as zeros, and makes it durable. */
      fill(diskId: DiskId, control: Control): Promise<void>;
    };

/** A disk to make. */
export interface NewDisk {
  readonly name: string;
  readonly role: string;
  readonly sectorBytes: number;
  readonly content: NewContent;
  /** Null or left out: none. */
  readonly limits?: DiskLimits | null;
}

/** A managed machine to create: with disks that are there, and with new ones called `MACHINE-ROLE`. */
export interface ManagedMachinePlan {
  readonly name: string;
  readonly subscription: string;
  readonly resourceGroup: string;
  readonly configuration: Json;
  readonly attach: readonly { readonly role: string; readonly disk: string }[];
  readonly make: readonly Omit<NewDisk, 'name'>[];
}

/** What managed disks stand on. */
export interface ManagedDisksParts {
  readonly copies: Copies;
  readonly engine: Engine;
  readonly catalog: Catalog;
  /** Turns of machines; captures take them too. */
  readonly turns: Turns<MachineId>;
  makings(): Makings;
}

/** The managed disks and machines of one open store. */
export class ManagedDisks {
  readonly #parts: ManagedDisksParts;
  readonly #busy = new Set<DiskId>();

  constructor(parts: ManagedDisksParts) {
    this.#parts = parts;
  }

  get #view(): CatalogView {
    return this.#parts.catalog.view;
  }

  /** A managed disk by its name. Errors: `DISK_NOT_FOUND`, also for one that is being made. */
  find(name: string): ManagedDiskRecord {
    const disk = this.#view.diskNamed(name);
    if (disk?.kind === 'managed' && disk.state !== 'creating' && disk.state !== 'scratch') return disk;
    const message =
      disk?.kind === 'external'
        ? `${disk.name} is an external disk, which the store does not hold`
        : `there is no managed disk ${JSON.stringify(name)}`;
    throw new StillpointError('DISK_NOT_FOUND', message, { disk: name });
  }

  /** Makes a detached disk. Errors: `NAME_INVALID`, `DISK_EXISTS`, those of its content. */
  async create(disk: NewDisk, control: Control): Promise<ManagedDiskRecord> {
    const { catalog } = this.#parts;
    const makings = this.#parts.makings();
    const begun = await catalog.transact((view) => {
      const record = single(creatingDisks(view, [disk], makings));
      return { changes: [{ put: record }], result: record };
    });
    return this.#claimed([begun.id], async () => {
      try {
        await this.#make(begun.id, disk, control);
        if (begun.limits !== undefined) await this.#parts.engine.limitDisk(begun.id, begun.limits);
        return await this.#ready(begun.id);
      } catch (error) {
        await removeDisk(this.#parts.engine, catalog, begun).catch(() => undefined);
        throw error;
      }
    });
  }

  /** Makes a disk that the next open removes, if nobody does before. Errors: those of its content. */
  async makeScratch(from: DiskReference, sizeBytes: number, sectorBytes: number): Promise<ManagedDiskRecord> {
    const { engine, catalog } = this.#parts;
    const makings = this.#parts.makings();
    const content = { kind: 'point', from, sizeBytes } as const;
    const scratch = await catalog.transact((view) => {
      const records = creatingDisks(view, [{ name: 'scratch-0', role: 'scratch', sectorBytes, content }], makings);
      const made = single(records);
      const record: ManagedDiskRecord = { ...made, name: `scratch-${made.id}`, state: 'scratch' };
      return { changes: [{ put: record }], result: record };
    });
    try {
      await this.#make(scratch.id, { name: scratch.name, role: scratch.role, sectorBytes, content }, {});
      return scratch;
    } catch (error) {
      await removeDisk(engine, catalog, scratch).catch(() => undefined);
      throw error;
    }
  }

  /** Removes what `makeScratch` made. */
  removeScratch(scratch: ManagedDiskRecord): Promise<void> {
    return removeDisk(this.#parts.engine, this.#parts.catalog, scratch);
  }

  /** Creates a managed machine: whole, or nothing of it. Errors: those of its disks; `MACHINE_EXISTS`, `DISK_ATTACHED`. */
  async createMachine(plan: ManagedMachinePlan, control: Control): Promise<MachineRecord> {
    const { engine, catalog } = this.#parts;
    const makings = this.#parts.makings();
    const attach = plan.attach.map(({ role, disk }) => ({ role, id: this.find(disk).id }));
    return this.#claimed(
      attach.map(({ id }) => id),
      async () => {
        const { machine, made } = await catalog.transact((view) => creatingMachine(view, plan, makings));
        const all = [...attach, ...made.map(({ id, role }) => ({ id, role }))];
        try {
          for (const [index, { id }] of made.entries()) {
            const disk = plan.make[index];
            if (disk !== undefined) await this.#make(id, { ...disk, name: `${plan.name}-${disk.role}` }, control);
          }
          await engine.createMachineLog(machine.id);
          for (const { id, role } of all) await engine.attachDisk(id, machine.id, role);
          return await this.#machineReady(machine, all);
        } catch (error) {
          await this.#unmake(machine, made).catch(() => undefined);
          throw error;
        }
      },
    );
  }

  /** Deletes a managed machine; its disks stay, detached. Errors: `MACHINE_NOT_EMPTY`. */
  deleteMachine(machine: MachineRecord): Promise<void> {
    const { copies, engine, catalog, turns } = this.#parts;
    return turns.run(machine.id, async () => {
      checkAvailable(engine, this.#view, machine.id);
      const going = await catalog.transact((view) => {
        const now = findMachine(view, machine.name);
        checkEmpty(view, now);
        const next: MachineRecord = { ...now, state: 'deleting' };
        return { changes: [{ put: next }], result: next };
      });
      await copies.whenCopied(() => removeMachine(engine, catalog, going));
    });
  }

  /** Attaches a detached disk. Errors: `DISK_ATTACHED`, `DISK_EXISTS` for a role that is taken, `MACHINE_NOT_MANAGED`. */
  async attach(
    machineName: string,
    name: string,
    role: string | null,
    limits: DiskLimits | null,
  ): Promise<ManagedDiskRecord> {
    const { copies, engine, turns } = this.#parts;
    const { id } = this.find(name);
    const machine = managedMachine(this.#view, machineName);
    return this.#claimed([id], () =>
      turns.run(machine.id, async () => {
        const now = managedMachine(this.#view, machineName);
        const disk = this.#detached(id);
        const asked = checkName('role', role ?? disk.role);
        const own = this.#view.disksOf(now);
        if (own.some((each) => isSameName(each.role, asked))) {
          const message = `the machine ${now.name} has a disk with the role ${asked} already`;
          throw new StillpointError('DISK_EXISTS', message, { machine: now.name, role: asked, disk: disk.name });
        }
        checkDiskCount(now.name, own.length + 1);
        await copies.whenCopied(() => engine.attachDisk(id, now.id, asked));
        const attached = await this.#follow(id);
        return limits === null ? attached : this.#limit(id, limits);
      }),
    );
  }

  /** Detaches a disk. Errors: `DISK_DETACHED`. */
  async detach(name: string): Promise<ManagedDiskRecord> {
    const { copies, engine } = this.#parts;
    const { id } = this.find(name);
    return this.#exclusive(id, async (disk) => {
      if (disk.machineId === null) {
        throw new StillpointError('DISK_DETACHED', `the disk ${disk.name} is not attached`, { disk: disk.name });
      }
      await copies.whenCopied(() => engine.detachDisk(id));
      return this.#follow(id);
    });
  }

  /** Limits what a disk may have a second. Errors: `DISK_BUSY`. */
  setLimits(name: string, limits: DiskLimits): Promise<ManagedDiskRecord> {
    return this.#exclusive(this.find(name).id, ({ id }) => this.#limit(id, limits));
  }

  /** Makes a disk larger. Errors: `ARGUMENT_INVALID`. */
  async grow(name: string, sizeBytes: number): Promise<ManagedDiskRecord> {
    const { engine } = this.#parts;
    const { id } = this.find(name);
    return this.#exclusive(id, async (disk) => {
      if (sizeBytes < disk.sizeBytes || sizeBytes % disk.sectorBytes !== 0) {
        const message = `the disk ${disk.name} of ${disk.sizeBytes} bytes cannot become ${sizeBytes} bytes long`;
        throw new StillpointError('ARGUMENT_INVALID', message, {
          option: 'sizeBytes',
          received: sizeBytes,
          allowed: `a multiple of ${disk.sectorBytes}, not less than ${disk.sizeBytes}`,
        });
      }
      await engine.growDisk(id, sizeBytes);
      return this.#follow(id);
    });
  }

  /** Deletes a detached disk with its data. Errors: `DISK_ATTACHED`, but for a disk that is lost. */
  async delete(name: string): Promise<void> {
    const { engine, catalog } = this.#parts;
    const { id } = this.find(name);
    await this.#claimed([id], async () => {
      const isLost = this.#live(id) === undefined && diskWaitsFor(engine, this.#current(id)) === null;
      const disk = isLost ? this.#current(id) : this.#detached(id);
      const going: ManagedDiskRecord = { ...disk, state: 'deleting' };
      await catalog.transact(() => ({ changes: [{ put: going }], result: null }));
      await removeDisk(engine, catalog, going);
    });
  }

  /**
   * Gives disks of a machine the content of disks of points, at once and all together.
   *
   * Errors: `DISK_BUSY`, `ARGUMENT_INVALID` where sector sizes differ.
   */
  async reset(
    machine: MachineRecord,
    disks: readonly { readonly id: DiskId; readonly from: DiskReference; readonly sectorBytes: number }[],
  ): Promise<{ readonly lsn: string }> {
    const { copies, engine, turns } = this.#parts;
    return this.#claimed(
      disks.map(({ id }) => id),
      () =>
        turns.run(machine.id, async () => {
          for (const { id, sectorBytes } of disks) {
            const disk = this.#current(id);
            if (disk.sectorBytes === sectorBytes && disk.machineId === machine.id) continue;
            const message = `the disk ${disk.name} has sectors of ${disk.sectorBytes} bytes, the point's has ${sectorBytes}`;
            throw new StillpointError('ARGUMENT_INVALID', message, { disk: disk.name, sectorBytes });
          }
          const from = disks.map(({ id, from }) => ({ diskId: id, from }));
          const done = await copies.whenCopied(() => engine.resetDisks(machine.id, from));
          for (const { id } of disks) await this.#follow(id);
          return done;
        }),
    );
  }

  /** Runs work on one disk, alone; in the turn of its machine, if it has one. */
  #exclusive<T>(id: DiskId, work: (disk: ManagedDiskRecord) => Promise<T>): Promise<T> {
    const { turns } = this.#parts;
    return this.#claimed([id], () => {
      const { machineId } = this.#current(id);
      const alone = (): Promise<T> => work(this.#current(id));
      return machineId === null ? alone() : turns.run(machineId, alone);
    });
  }

  async #claimed<T>(ids: readonly DiskId[], work: () => Promise<T>): Promise<T> {
    for (const [index, id] of ids.entries()) {
      if (!this.#busy.has(id) && ids.indexOf(id) === index) continue;
      const name = this.#view.disk(id)?.name ?? id;
      throw new StillpointError('DISK_BUSY', `the disk ${name} is being created, moved, changed or deleted`, {
        disk: name,
      });
    }
    for (const id of ids) this.#busy.add(id);
    try {
      return await work();
    } finally {
      for (const id of ids) this.#busy.delete(id);
    }
  }

  /** The record first: what it says every later open does. */
  async #limit(id: DiskId, limits: DiskLimits): Promise<ManagedDiskRecord> {
    const { catalog, engine } = this.#parts;
    const next = await catalog.transact(() => {
      const changed: ManagedDiskRecord = { ...this.#current(id), limits };
      return { changes: [{ put: changed }], result: changed };
    });
    await engine.limitDisk(id, limits);
    return next;
  }

  #current(id: DiskId): ManagedDiskRecord {
    const disk = this.#view.disk(id);
    if (disk?.kind === 'managed') return disk;
    throw new StillpointError('DISK_NOT_FOUND', 'the disk was deleted', { disk: id });
  }

  #detached(id: DiskId): ManagedDiskRecord {
    const disk = this.#current(id);
    if (disk.machineId === null) return disk;
    const machine = this.#view.machine(disk.machineId)?.name ?? disk.machineId;
    throw new StillpointError('DISK_ATTACHED', `the disk ${disk.name} is attached to ${machine}`, {
      disk: disk.name,
      machine,
    });
  }

  #live(id: DiskId): LiveDisk | undefined {
    return this.#parts.engine.liveDisks().find(({ diskId }) => diskId === id);
  }

  async #make(diskId: DiskId, { name, role, sectorBytes, content }: NewDisk, control: Control): Promise<void> {
    const { copies, engine } = this.#parts;
    if (content.kind === 'image') {
      await engine.importDisk({ diskId, name, role, path: content.path, sectorBytes }, control);
      return;
    }
    const from = content.kind === 'point' ? content.from : null;
    const made = { diskId, name, role, sizeBytes: content.sizeBytes, sectorBytes, from };
    // A moment may stand on points, and those on older ones, that wait for their copies.
    await copies.whenCopied(() => engine.createDisk(made));
    if (content.kind === 'filled') await content.fill(diskId, control);
  }

  /** The record of a disk that was made, as the engine has it. */
  #ready(id: DiskId): Promise<ManagedDiskRecord> {
    return this.#parts.catalog.transact(() => {
      const next = this.#asLive(id);
      return { changes: [{ put: next }], result: next };
    });
  }

  #asLive(id: DiskId): ManagedDiskRecord {
    const live = this.#live(id);
    if (live === undefined)
      throw new StillpointError('INTERNAL', `the engine does not have the disk ${id}`, { disk: id });
    const { sizeBytes, generation, role } = live;
    return { ...this.#current(id), state: 'ready', sizeBytes, generation, role };
  }

  #machineReady(machine: MachineRecord, disks: readonly { readonly id: DiskId }[]): Promise<MachineRecord> {
    return this.#parts.catalog.transact(() => {
      const next: MachineRecord = { ...machine, state: 'ready', diskIds: disks.map(({ id }) => id) };
      const records = disks.map(({ id }) => ({ ...this.#asLive(id), machineId: machine.id }));
      return { changes: [next, ...records].map((record): Change => ({ put: record })), result: next };
    });
  }

  async #unmake(machine: MachineRecord, made: readonly ManagedDiskRecord[]): Promise<void> {
    const { engine, catalog } = this.#parts;
    await removeMachine(engine, catalog, machine);
    for (const disk of made) await removeDisk(engine, catalog, disk);
    // Disks that were attached for a moment have another generation now.
    for (const { diskId, machineId } of engine.liveDisks()) {
      const record = this.#view.disks().find((disk) => disk.id === diskId);
      if (machineId === null && record?.kind === 'managed' && this.#busy.has(record.id)) await this.#follow(record.id);
    }
  }

  /** Brings the record of a disk, and of the machines that it came from and went to, in line with the engine. */
  #follow(id: DiskId): Promise<ManagedDiskRecord> {
    return this.#parts.catalog.transact((view) => {
      const before = this.#current(id);
      const machineId = this.#live(id)?.machineId ?? null;
      const machine = machineId === null ? undefined : view.machines().find((each) => each.id === machineId);
      const next: ManagedDiskRecord = { ...this.#asLive(id), machineId: machine?.id ?? null };
      const changes: Change[] = [{ put: next }];
      if (before.machineId !== next.machineId) {
        const left = before.machineId === null ? undefined : view.machine(before.machineId);
        if (left !== undefined) changes.push({ put: { ...left, diskIds: left.diskIds.filter((each) => each !== id) } });
        if (machine !== undefined) changes.push({ put: { ...machine, diskIds: [...machine.diskIds, id] } });
      }
      return { changes, result: next };
    });
  }
}

/** A machine whose disks the store holds. Errors: `MACHINE_NOT_FOUND`, `MACHINE_NOT_MANAGED`, `MACHINE_BUSY`. */
export function managedMachine(view: CatalogView, name: string): MachineRecord {
  const machine = findMachine(view, name);
  checkReady(machine);
  if (machine.kind === 'managed') return machine;
  const message = `the disks of ${machine.name} are external: someone else writes them`;
  throw new StillpointError('MACHINE_NOT_MANAGED', message, { machine: machine.name });
}

function single(records: readonly ManagedDiskRecord[]): ManagedDiskRecord {
  const [record] = records;
  if (record === undefined || records.length > 1) throw new TypeError('one disk was asked for');
  return record;
}

function creatingDisks(view: CatalogView, disks: readonly NewDisk[], makings: Makings): ManagedDiskRecord[] {
  const names = new Set<string>();
  return disks.map(({ name, role, sectorBytes, limits }) => {
    checkName('disk', name);
    checkName('role', role);
    if (view.diskNamed(name) !== undefined || names.has(folded(name))) {
      throw new StillpointError('DISK_EXISTS', `there is a disk ${name} already`, { disk: name });
    }
    names.add(folded(name));
    return {
      type: 'disk',
      id: makings.diskId(),
      machineId: null,
      name,
      role,
      kind: 'managed',
      state: 'creating',
      sizeBytes: 0,
      sectorBytes,
      generation: 0,
      createdMs: makings.nowMs,
      ...limitsIn(limits ?? null),
    };
  });
}

function creatingMachine(
  view: CatalogView,
  plan: ManagedMachinePlan,
  makings: Makings,
): { changes: readonly Change[]; result: { machine: MachineRecord; made: ManagedDiskRecord[] } } {
  const { name, subscription, resourceGroup, configuration } = plan;
  checkName('machine', name);
  checkName('resource group', resourceGroup);
  const existing = view.machineNamed(name);
  if (existing !== undefined) {
    throw new StillpointError('MACHINE_EXISTS', `there is a machine ${existing.name} already`, {
      machine: existing.name,
    });
  }
  const roles = [...plan.attach, ...plan.make].map(({ role }) => checkName('role', role));
  const repeated = roles.find((role, index) => roles.findIndex((each) => isSameName(each, role)) !== index);
  if (repeated !== undefined) {
    const message = `${name} cannot have two disks with the role ${repeated}`;
    throw new StillpointError('DISK_EXISTS', message, { machine: name, role: repeated });
  }
  checkDiskCount(name, roles.length);
  for (const { disk } of plan.attach) {
    const record = view.diskNamed(disk);
    const machine = record === undefined || record.machineId === null ? undefined : view.machine(record.machineId);
    if (machine === undefined) continue;
    const message = `the disk ${disk} is attached to ${machine.name}`;
    throw new StillpointError('DISK_ATTACHED', message, { disk, machine: machine.name });
  }
  const machine: MachineRecord = {
    type: 'machine',
    id: makings.machineId(),
    name,
    subscription,
    resourceGroup,
    configuration,
    kind: 'managed',
    state: 'creating',
    diskIds: [],
    createdMs: makings.nowMs,
  };
  const made = creatingDisks(
    view,
    plan.make.map((disk) => ({ ...disk, name: `${name}-${disk.role}` })),
    makings,
  );
  return { changes: [machine, ...made].map((record): Change => ({ put: record })), result: { machine, made } };
}

/** As a record has them. */
function limitsIn(limits: DiskLimits | null): { readonly limits?: DiskLimits } {
  return limits === null || (limits.operationsPerSecond ?? limits.bytesPerSecond) === null ? {} : { limits };
}

/** A managed machine may have no disks: they can be detached one by one. */
function checkDiskCount(machine: string, count: number): void {
  if (count <= disksPerMachineMax) return;
  throw new StillpointError('ARGUMENT_INVALID', `the machine ${machine} would have ${count} disks`, {
    option: 'disks',
    received: count,
    allowed: `at most ${disksPerMachineMax} disks`,
  });
}
