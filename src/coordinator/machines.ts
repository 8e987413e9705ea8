/**
 * What becomes of the catalog when a machine is created, changed or deleted.
 *
 * Pure: each function looks at the records and returns the changes. Restore points keep what they had at their capture.
 */

import type { Json } from '../catalog/json.js';
import { checkName, folded } from '../catalog/names.js';
import type { Decision } from '../catalog/catalog.js';
import { keyOf, type Change, type ExternalDiskRecord, type MachineRecord } from '../catalog/record.js';
import { findMachine } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import { StillpointError } from '../store/errors.js';
import type { DiskId, MachineId } from '../store/units.js';
import { disksPerMachineMax } from './limits.js';

/** A disk to add; `source` is absolute. */
export interface DiskPlan {
  readonly role: string;
  readonly source: string;
  readonly sectorBytes: number;
}

/** A machine to create. */
export interface MachinePlan {
  readonly name: string;
  readonly subscription: string;
  readonly resourceGroup: string;
  readonly configuration: Json;
  readonly disks: readonly DiskPlan[];
}

/** A change of a machine; what is null or empty stays. */
export interface MachineChangePlan {
  readonly configuration: { readonly value: Json } | null;
  readonly addDisks: readonly DiskPlan[];
  /** Roles. */
  readonly removeDisks: readonly string[];
  readonly moveDisks: readonly { readonly role: string; readonly source: string }[];
}

/** New ids and the time: what a decision needs besides the records. */
export interface Makings {
  readonly nowMs: number;
  machineId(): MachineId;
  diskId(): DiskId;
}

/** Creates a machine. Errors: `NAME_INVALID`, `MACHINE_EXISTS`, `DISK_EXISTS`, `ARGUMENT_INVALID`. */
export function createMachine(view: CatalogView, plan: MachinePlan, makings: Makings): Decision<MachineRecord> {
  checkName('machine', plan.name);
  checkName('resource group', plan.resourceGroup);
  const existing = view.machineNamed(plan.name);
  if (existing !== undefined) {
    throw new StillpointError('MACHINE_EXISTS', `there is a machine ${existing.name} already`, {
      machine: existing.name,
    });
  }
  const id = makings.machineId();
  const disks = newDisks(view, { id, name: plan.name }, [], plan.disks, makings);
  checkDiskCount(plan.name, disks.length);
  const { name, subscription, resourceGroup, configuration } = plan;
  const machine: MachineRecord = {
    type: 'machine',
    id,
    name,
    subscription,
    resourceGroup,
    configuration,
    kind: 'external',
    state: 'ready',
    diskIds: disks.map((disk) => disk.id),
    createdMs: makings.nowMs,
  };
  return { changes: [machine, ...disks].map((record): Change => ({ put: record })), result: machine };
}

/**
 * Changes a machine. Disks are removed, then moved, then added, so a role can be given to a new disk in one call.
 *
 * Errors: `MACHINE_NOT_FOUND`, `DISK_NOT_FOUND`, `DISK_EXISTS`, `NAME_INVALID`, `ARGUMENT_INVALID`.
 */
export function changeMachine(
  view: CatalogView,
  name: string,
  plan: MachineChangePlan,
  makings: Makings,
): Decision<MachineRecord> {
  const machine = findMachine(view, name);
  checkReady(machine);
  if (machine.kind === 'managed') {
    if (plan.addDisks.length + plan.removeDisks.length + plan.moveDisks.length > 0) {
      const message = `the disks of ${machine.name} are managed; they are attached and detached`;
      throw new StillpointError('ARGUMENT_INVALID', message, { machine: machine.name, option: 'disks' });
    }
    const configured: MachineRecord = { ...machine, configuration: configurationAfter(machine, plan) };
    return { changes: [{ put: configured }], result: configured };
  }
  const disks = view.disksOf(machine).flatMap((disk) => (disk.kind === 'external' ? [disk] : []));
  const removed = plan.removeDisks.map((role) => diskInRole(machine, disks, role));
  const kept = disks.filter((disk) => !removed.includes(disk));
  const moved = plan.moveDisks.map(({ role, source }) => ({ ...diskInRole(machine, kept, role), source }));
  const added = newDisks(view, machine, removed, plan.addDisks, makings, kept);
  checkDiskCount(machine.name, kept.length + added.length);
  const next: MachineRecord = {
    ...machine,
    configuration: configurationAfter(machine, plan),
    diskIds: [...kept, ...added].map((disk) => disk.id),
  };
  const changes: Change[] = [
    ...removed.map((disk) => ({ remove: keyOf(disk) })),
    ...[next, ...moved, ...added].map((record) => ({ put: record })),
  ];
  return { changes, result: next };
}

function configurationAfter(machine: MachineRecord, plan: MachineChangePlan): Json {
  return plan.configuration === null ? machine.configuration : plan.configuration.value;
}

/** Proves that a machine is neither being created nor deleted. Errors: `MACHINE_BUSY`. */
export function checkReady(machine: MachineRecord): void {
  if (machine.state === 'ready') return;
  const message = `the machine ${machine.name} is being ${machine.state === 'creating' ? 'created' : 'deleted'}`;
  throw new StillpointError('MACHINE_BUSY', message, { machine: machine.name, state: machine.state });
}

/** Proves that a machine has no points. Errors: `MACHINE_NOT_EMPTY`. */
export function checkEmpty(view: CatalogView, machine: MachineRecord): void {
  const points = view.pointsOf(machine.id);
  if (points.length === 0) return;
  const message = `the machine ${machine.name} has ${points.length} restore points`;
  throw new StillpointError('MACHINE_NOT_EMPTY', message, { machine: machine.name, points: points.length });
}

/** Deletes a machine with its external disks and empty collections. Errors: `MACHINE_NOT_FOUND`, `MACHINE_NOT_EMPTY`. */
export function deleteMachine(view: CatalogView, name: string): Decision<null> {
  const machine = findMachine(view, name);
  checkEmpty(view, machine);
  return { changes: removalOf(view, machine), result: null };
}

/** What goes with a machine. Managed disks stay, and have to be detached in the same batch. */
export function removalOf(view: CatalogView, machine: MachineRecord): readonly Change[] {
  const external = view.disksOf(machine).filter((disk) => disk.kind === 'external');
  const records = [machine, ...external, ...view.collectionsOf(machine.id)];
  const sequence = view.lastSequence(machine.id) === 0 ? [] : [`sequence/${machine.id}` as const];
  return [...records.map(keyOf), ...sequence].map((key): Change => ({ remove: key }));
}

/** Records for new disks, their names and roles checked against the store's, the machine's and each other's. */
function newDisks(
  view: CatalogView,
  machine: { readonly id: MachineId; readonly name: string },
  going: readonly ExternalDiskRecord[],
  plans: readonly DiskPlan[],
  makings: Makings,
  staying: readonly ExternalDiskRecord[] = [],
): ExternalDiskRecord[] {
  const roles = new Set(staying.map((disk) => folded(disk.role)));
  return plans.map(({ role, source, sectorBytes }) => {
    checkName('role', role);
    const name = checkName('disk', `${machine.name}-${role}`);
    const namesake = view.diskNamed(name);
    const isGoing = going.some((disk) => disk.id === namesake?.id);
    if (roles.has(folded(role)) || (namesake !== undefined && !isGoing)) {
      const message = `there is a disk ${namesake?.name ?? name} already, so ${machine.name} cannot have a new one with the role ${role}`;
      throw new StillpointError('DISK_EXISTS', message, { machine: machine.name, role, disk: name });
    }
    roles.add(folded(role));
    return {
      type: 'disk',
      id: makings.diskId(),
      machineId: machine.id,
      name,
      role,
      kind: 'external',
      source,
      sectorBytes,
      createdMs: makings.nowMs,
    };
  });
}

function diskInRole(machine: MachineRecord, disks: readonly ExternalDiskRecord[], role: string): ExternalDiskRecord {
  const disk = disks.find((each) => folded(each.role) === folded(role));
  if (disk !== undefined) return disk;
  const roles = disks.map((each) => each.role);
  const message = `the machine ${machine.name} has no disk with the role ${JSON.stringify(role)}; it has ${roles.join(', ')}`;
  throw new StillpointError('DISK_NOT_FOUND', message, { machine: machine.name, disk: role, roles });
}

/** Proves that a machine with external disks has some, and not too many. */
function checkDiskCount(machine: string, count: number): void {
  if (count >= 1 && count <= disksPerMachineMax) return;
  throw new StillpointError('ARGUMENT_INVALID', `the machine ${machine} would have ${count} disks`, {
    option: 'disks',
    received: count,
    allowed: `1 to ${disksPerMachineMax} disks`,
  });
}
