/**
 * Step 1 of every capture: what was asked for is checked, and the point's record is made; and what undoes it.
 *
 * One batch of the catalog: the point `creating`, its collection where that is new, and the machine's
 * sequence, with the one that is reserved for the next capture.
 */

import type { Catalog } from '../catalog/catalog.js';
import { checkName, folded } from '../catalog/names.js';
import {
  keyOf,
  type Change,
  type CollectionRecord,
  type DiskRecord,
  type MachineRecord,
  type PointDisk,
  type PointRecord,
  type SequenceRecord,
} from '../catalog/record.js';
import { findMachine } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import { reachedWithoutWriters } from '../consistency/mode.js';
import type { Engine } from '../native/engine.js';
import { StillpointError } from '../store/errors.js';
import type { CollectionId, ConsistencyMode, MachineId, PointId } from '../store/units.js';
import { pointsPerMachineMax } from './limits.js';
import { checkReady } from './machines.js';
import { defaultPointName } from './point-name.js';
import { checkWay } from './state.js';

/** What is captured, and how. */
export interface CapturePlan {
  readonly machine: string;
  /** Null: the time. */
  readonly name: string | null;
  readonly collection: string;
  readonly requested: ConsistencyMode | null;
  /** Roles. */
  readonly exclude: readonly string[];
  /** The caller vouches that block devices do not change. */
  readonly frozen: boolean;
}

/** The numbers that this process gave to cuts whose records could not be written. */
export class UsedNumbers {
  readonly #highest = new Map<MachineId, number>();

  noteUsed({ machineId, sequence }: PointRecord): void {
    this.#highest.set(machineId, Math.max(this.highest(machineId), sequence));
  }

  highest(machineId: MachineId): number {
    return this.#highest.get(machineId) ?? 0;
  }
}

/** New ids and numbers, and the time. */
export interface CaptureMakings {
  readonly nowMs: number;
  readonly numbers: UsedNumbers;
  pointId(): PointId;
  collectionId(): CollectionId;
}

/** What step 1 has written, and what the later steps need of it. */
export interface Begun {
  readonly machine: MachineRecord;
  readonly collection: CollectionRecord;
  readonly point: PointRecord;
  /** Whether an earlier batch has reserved the point's sequence: then it may be cut before this one is durable. */
  readonly isReserved: boolean;
  /** The disks to capture. */
  readonly disks: readonly DiskRecord[];
}

/** Step 1: checks what was asked for and makes the record. */
export function beginCapture(
  view: CatalogView,
  plan: CapturePlan,
  makings: CaptureMakings,
): { changes: readonly Change[]; result: Begun } {
  const machine = findMachine(view, plan.machine);
  checkReady(machine);
  const reached = reachedWithoutWriters(machine.name, plan.requested);
  const disks = view.disksOf(machine);
  const excluded = excludedDisks(machine, disks, plan.exclude);
  const pointCount = view.pointsOf(machine.id).length;
  if (pointCount >= pointsPerMachineMax) {
    const message = `the machine ${machine.name} has ${pointCount} restore points, and no more than ${pointsPerMachineMax} are kept`;
    throw new StillpointError('POINT_LIMIT_REACHED', message, {
      machine: machine.name,
      points: pointCount,
      max: pointsPerMachineMax,
    });
  }
  const { nowMs } = makings;
  const found = view.collectionNamed(machine.id, checkName('collection', plan.collection));
  const collection = found ?? newCollection(makings.collectionId(), machine.id, plan.collection, nowMs);
  const point: PointRecord = {
    type: 'point',
    id: makings.pointId(),
    machineId: machine.id,
    collectionId: collection.id,
    name: pointName(view, machine, collection, plan.name, nowMs),
    sequence: Math.max(view.lastSequence(machine.id), makings.numbers.highest(machine.id)) + 1,
    createdMs: nowMs,
    state: 'creating',
    failure: null,
    consistency: { requested: plan.requested, reached, writers: [] },
    configuration: machine.configuration,
    disks: disks.map((disk) => pointDisk(disk, excluded.has(disk))),
    captured: null,
    lsn: null,
  };
  const isReserved = point.sequence <= view.reservedSequence(machine.id);
  const changes: Change[] = [
    ...(found === undefined ? [{ put: collection }] : []),
    { put: sequenceRecord(machine.id, point.sequence) },
    { put: point },
  ];
  return {
    changes,
    result: { machine, collection, point, isReserved, disks: disks.filter((disk) => !excluded.has(disk)) },
  };
}

/** The record of a number that was given, which reserves the next one. */
export function sequenceRecord(machineId: MachineId, last: number): SequenceRecord {
  return { type: 'sequence', machineId, last, reserved: last + 1 };
}

function excludedDisks(
  machine: MachineRecord,
  disks: readonly DiskRecord[],
  roles: readonly string[],
): ReadonlySet<DiskRecord> {
  if (disks.length === 0) {
    throw new StillpointError('ARGUMENT_INVALID', `the machine ${machine.name} has no disks to capture`, {
      option: 'machine',
      received: machine.name,
      allowed: 'a machine with disks',
    });
  }
  const excluded = new Set<DiskRecord>();
  for (const role of roles) {
    const disk = disks.find((each) => folded(each.role) === folded(role));
    if (disk === undefined) {
      const own = disks.map((each) => each.role);
      const message = `the machine ${machine.name} has no disk with the role ${JSON.stringify(role)}; it has ${own.join(', ')}`;
      throw new StillpointError('DISK_NOT_FOUND', message, { machine: machine.name, disk: role, roles: own });
    }
    excluded.add(disk);
  }
  if (excluded.size === disks.length) {
    throw new StillpointError(
      'ARGUMENT_INVALID',
      `every disk of ${machine.name} is excluded, so there is nothing to capture`,
      {
        option: 'exclude',
        received: roles,
        allowed: 'all but one of the roles at most',
      },
    );
  }
  return excluded;
}

function newCollection(id: CollectionId, machineId: MachineId, name: string, createdMs: number): CollectionRecord {
  return { type: 'collection', id, machineId, name, createdMs };
}

function pointName(
  view: CatalogView,
  machine: MachineRecord,
  collection: CollectionRecord,
  asked: string | null,
  nowMs: number,
): string {
  if (asked === null) {
    return defaultPointName(nowMs, (name) => view.pointNamed(collection.id, name) !== undefined);
  }
  checkName('point', asked);
  const existing = view.pointNamed(collection.id, asked);
  if (existing === undefined) return asked;
  const reference = `${machine.name}/${collection.name}/${existing.name}`;
  throw new StillpointError('POINT_EXISTS', `there is a restore point ${reference} already`, { point: reference });
}

function pointDisk(disk: DiskRecord, excluded: boolean): PointDisk {
  const { id, role, name, kind, sectorBytes } = disk;
  const source = disk.kind === 'external' ? disk.source : null;
  return { id, role, name, kind, source, sizeBytes: 0, sectorBytes, excluded };
}

/** Removes the record of a capture that came to nothing; the error that ended it is the one to report. Whether it could. */
export async function forget(engine: Engine, catalog: Catalog, point: PointRecord): Promise<boolean> {
  checkWay(point, 'none');
  return engine
    .withReserve(() => catalog.transact(() => ({ changes: [{ remove: keyOf(point) }], result: true })))
    .catch(() => false);
}
