/**
 * The capture of a machine with external disks: steps 1, 5, 6 and 7 of the commit protocol (DESIGN section 3).
 *
 *   1  catalog: point `creating`, with the disks as they are configured now
 *   5  engine: scan of all disks that are not excluded, as one; everything durable but the manifest
 *   6  engine: manifest published                                              <- the point exists from here on
 *   7  catalog: point `copied`, with sizes and counts; the caller is answered
 *
 * Whatever fails before step 6 leaves nothing but chunks for the collector: the scan is abandoned and the record goes.
 * That, and step 7, may use the store's reserve of space: on a disk that is full meanwhile an answer must still be right.
 * When that cannot be done either (a fenced store), the record stays `creating` and the next open removes it. When the
 * publishing itself fails, the manifest is removed before the record; when step 7 fails, the point is whole and the
 * next open makes it `copied`.
 */

import type { Catalog } from '../catalog/catalog.js';
import { encodeDetail } from '../catalog/detail.js';
import { checkName, folded } from '../catalog/names.js';
import {
  keyOf,
  type Captured,
  type Change,
  type CollectionRecord,
  type DiskRecord,
  type MachineRecord,
  type PointDisk,
  type PointRecord,
} from '../catalog/record.js';
import { findMachine } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import { reachedWithoutWriters } from '../consistency/mode.js';
import type { Control, Engine, Scan, ScanDiskRequest } from '../native/engine.js';
import { isStillpointError, StillpointError } from '../store/errors.js';
import type { CollectionId, ConsistencyMode, MachineId, PointId } from '../store/units.js';
import { cancelled } from './gate.js';
import { pointsPerMachineMax } from './limits.js';
import { parentsOf } from './parents.js';
import { defaultPointName } from './point-name.js';
import { checkWay, moved } from './state.js';

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

/** New ids and the time. */
export interface CaptureMakings {
  readonly nowMs: number;
  pointId(): PointId;
  collectionId(): CollectionId;
}

/** What step 1 has written, and what the later steps need of it. */
interface Begun {
  readonly machine: MachineRecord;
  readonly collection: CollectionRecord;
  readonly point: PointRecord;
  /** The disks to scan. */
  readonly disks: readonly DiskRecord[];
}

/** Captures a machine. The caller has made sure that no other capture of this machine runs. */
export async function capture(
  engine: Engine,
  catalog: Catalog,
  plan: CapturePlan,
  makings: CaptureMakings,
  control: Control,
): Promise<PointRecord> {
  const begun = await catalog.transact((view) => begin(view, plan, makings));
  const scan = await scanOrForget(engine, catalog, begun, plan.frozen, control);
  const captured = capturedBy(scan);
  const point: PointRecord = { ...begun.point, disks: withSizes(begun.point.disks, scan), captured };
  await publishOrForget(engine, catalog, begun, point, captured, scan, control.signal);
  const copied = moved(point, 'copied');
  return engine.withReserve(() => catalog.transact(() => ({ changes: [{ put: copied }], result: copied })));
}

/** Step 1: checks what was asked for and makes the record. */
function begin(
  view: CatalogView,
  plan: CapturePlan,
  makings: CaptureMakings,
): { changes: readonly Change[]; result: Begun } {
  const machine = findMachine(view, plan.machine);
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
    sequence: view.lastSequence(machine.id) + 1,
    createdMs: nowMs,
    state: 'creating',
    failure: null,
    consistency: { requested: plan.requested, reached, writers: [] },
    configuration: machine.configuration,
    disks: disks.map((disk) => pointDisk(disk, excluded.has(disk))),
    captured: null,
  };
  const changes: Change[] = [
    ...(found === undefined ? [{ put: collection }] : []),
    { put: { type: 'sequence', machineId: machine.id, last: point.sequence } },
    { put: point },
  ];
  return { changes, result: { machine, collection, point, disks: disks.filter((disk) => !excluded.has(disk)) } };
}

function excludedDisks(
  machine: MachineRecord,
  disks: readonly DiskRecord[],
  roles: readonly string[],
): ReadonlySet<DiskRecord> {
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
  const { id, role, name, kind, source, sectorBytes } = disk;
  return { id, role, name, kind, source, sizeBytes: 0, sectorBytes, excluded };
}

function withSizes(disks: readonly PointDisk[], scan: Scan): readonly PointDisk[] {
  const sizes = new Map<string, number>(scan.disks.map(({ diskId, sizeBytes }) => [diskId, sizeBytes]));
  return disks.map((disk) => (disk.excluded ? disk : { ...disk, sizeBytes: sizes.get(disk.id) ?? 0 }));
}

function capturedBy(scan: Scan): Captured {
  const sum = (bytes: readonly number[]): number => bytes.reduce((total, each) => total + each, 0);
  return {
    startedMs: scan.startedMs,
    endedMs: scan.endedMs,
    bytesRead: sum(scan.disks.map((disk) => disk.bytesRead)),
    bytesNew: sum(scan.disks.map((disk) => disk.bytesNew)),
    bytesStored: sum(scan.disks.map((disk) => disk.bytesStored)),
  };
}

/** Step 5. */
async function scanOrForget(
  engine: Engine,
  catalog: Catalog,
  begun: Begun,
  frozen: boolean,
  control: Control,
): Promise<Scan> {
  try {
    return await scanWithParents(engine, catalog.view, begun, frozen, control);
  } catch (error) {
    await forget(engine, catalog, begun.point);
    throw error;
  }
}

async function scanWithParents(
  engine: Engine,
  view: CatalogView,
  { machine, disks }: Begun,
  frozen: boolean,
  control: Control,
): Promise<Scan> {
  const ids = disks.map((disk) => disk.id);
  for (;;) {
    const parents = parentsOf(view, machine.id, ids);
    const requests = disks.map((disk): ScanDiskRequest => ({
      diskId: disk.id,
      path: disk.source,
      sectorBytes: disk.sectorBytes,
      parentPointId: parents.get(disk.id) ?? null,
      frozen,
    }));
    try {
      return await engine.scan(requests, control);
    } catch (error) {
      // A parent may be deleted between the choice and the scan. It is chosen anew then; each round needs another
      // deletion, so this ends.
      const chosen = parentsOf(view, machine.id, ids);
      const isChanged = ids.some((id) => chosen.get(id) !== parents.get(id));
      if (!(isStillpointError(error, 'POINT_NOT_FOUND') && isChanged)) throw error;
    }
  }
}

/** Step 6. */
async function publishOrForget(
  engine: Engine,
  catalog: Catalog,
  begun: Begun,
  point: PointRecord,
  captured: Captured,
  scan: Scan,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (signal?.aborted === true) {
    await scan.abandon();
    await forget(engine, catalog, begun.point);
    throw cancelled(signal);
  }
  const detail = encodeDetail(begun.machine, begun.collection, point, captured);
  try {
    await scan.publish({ pointId: point.id, createdMs: point.createdMs, detail });
  } catch (error) {
    // Nobody knows whether the manifest is there. Without this removal the record would have to stay.
    const isGone = await engine.removePoint(point.id).then(
      () => true,
      () => false,
    );
    if (isGone) await forget(engine, catalog, begun.point);
    throw error;
  }
}

/** Removes the record of a capture that came to nothing; the error that ended it is the one to report. */
async function forget(engine: Engine, catalog: Catalog, point: PointRecord): Promise<void> {
  checkWay(point, 'none');
  await engine
    .withReserve(() => catalog.transact(() => ({ changes: [{ remove: keyOf(point) }], result: null })))
    .catch(() => undefined);
}
