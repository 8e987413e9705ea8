/**
 * Makes the catalog's records from manifests and the dump. docs/catalog-format.md, section 6.
 *
 * Pure. A damaged catalog is replaced by the result; a read-only open uses it as its catalog. The dump counts before
 * the manifests where both know a thing, because it is as new as the last change of a machine; the manifests say which
 * points there are, because they are the points. Names stay unique whatever is put in: the later of two gets a number.
 */

import type { CollectionId, DiskId, MachineId, PointId } from '../store/units.js';
import { pointOf, type PublishedPoint } from './detail.js';
import { folded, freeName } from './names.js';
import type {
  CatalogRecord,
  CollectionRecord,
  DiskRecord,
  HoldRecord,
  MachineRecord,
  ManifestDetail,
  PointRecord,
  SequenceRecord,
} from './record.js';

/** Names that are taken, with the parent that they mean something in. */
class Names {
  readonly #taken = new Set<string>();

  /** The name, changed as little as needed to be free, and taken from now on. */
  take(scope: string, name: string): string {
    const free = freeName(name, (candidate) => this.#taken.has(`${scope}/${folded(candidate)}`));
    this.#taken.add(`${scope}/${folded(free)}`);
    return free;
  }
}

/**
 * All records for the published points and what the dump holds. Live disks and cuts that wait for their copies are added
 * by `alignment.ts`.
 *
 * `published` in any order; `dumped` is empty when there is no valid dump. A failed point of the dump whose manifest is
 * there is a point like any other.
 */
export function rebuiltRecords(
  published: readonly PublishedPoint[],
  dumped: readonly CatalogRecord[],
): readonly CatalogRecord[] {
  const names = new Names();
  const machines = new Map<MachineId, MachineRecord>();
  const disks = new Map<DiskId, DiskRecord>();
  const collections = new Map<CollectionId, CollectionRecord>();
  const points = new Map<PointId, PointRecord>();
  for (const record of dumped) {
    if (record.type === 'machine') machines.set(record.id, { ...record, name: names.take('machine', record.name) });
    if (record.type === 'disk') disks.set(record.id, takeDisk(names, record));
    if (record.type === 'collection') collections.set(record.id, takeCollection(names, record));
  }

  const oldestFirst = [...published].sort(
    (left, right) => inOrder(left.detail, right.detail) || (left.id < right.id ? -1 : 1),
  );
  for (const { detail } of [...oldestFirst].reverse()) {
    // Newest first: what the machine was last is what it is.
    if (machines.has(detail.machine.id)) continue;
    const machine = machineFrom(names, detail, disks);
    machines.set(machine.id, machine);
  }
  for (const { detail } of oldestFirst) {
    const { id, name } = detail.collection;
    if (collections.has(id)) continue;
    const machineId = detail.machine.id;
    collections.set(
      id,
      takeCollection(names, { type: 'collection', id, machineId, name, createdMs: detail.createdMs }),
    );
  }
  for (const point of oldestFirst) {
    points.set(point.id, pointOf(point, names.take(`point/${point.detail.collection.id}`, point.detail.name)));
  }
  for (const record of dumped) {
    if (record.type !== 'point' || points.has(record.id)) continue;
    points.set(record.id, { ...record, name: names.take(`point/${record.collectionId}`, record.name) });
  }
  const holds = dumped.filter((record): record is HoldRecord => record.type === 'hold' && points.has(record.pointId));
  return [
    ...machines.values(),
    ...disks.values(),
    ...collections.values(),
    ...points.values(),
    ...holds,
    ...sequences(points.values(), new Set(published.map(({ id }) => id))),
  ];
}

function inOrder(left: ManifestDetail, right: ManifestDetail): number {
  return left.machine.id === right.machine.id ? left.sequence - right.sequence : left.createdMs - right.createdMs;
}

function takeDisk(names: Names, disk: DiskRecord): DiskRecord {
  const name = names.take('disk', disk.name);
  if (disk.machineId === null) return { ...disk, name };
  return { ...disk, name, role: names.take(`role/${disk.machineId}`, disk.role) };
}

function takeCollection(names: Names, collection: CollectionRecord): CollectionRecord {
  return { ...collection, name: names.take(`collection/${collection.machineId}`, collection.name) };
}

/** A machine as its newest point had it; its external disks are added to `disks`. */
function machineFrom(names: Names, detail: ManifestDetail, disks: Map<DiskId, DiskRecord>): MachineRecord {
  const { machine, configuration, createdMs } = detail;
  const diskIds: DiskId[] = [];
  for (const { id, name, role, kind, source, sectorBytes } of detail.disks) {
    // A disk id that another machine has already belongs to that one.
    if (kind !== 'external' || source === null || disks.has(id)) continue;
    const disk = takeDisk(names, {
      type: 'disk',
      id,
      machineId: machine.id,
      name,
      role,
      kind,
      source,
      sectorBytes,
      createdMs,
    });
    disks.set(id, disk);
    diskIds.push(id);
  }
  // Its managed disks are those that the logs say it has; `alignment.ts` adds them.
  const kind = detail.disks.some((disk) => disk.kind === 'managed') ? 'managed' : 'external';
  const name = names.take('machine', machine.name);
  return { type: 'machine', ...machine, name, configuration, kind, state: 'ready', diskIds, createdMs };
}

/** The cuts of a machine's log are known up to its newest manifest, as its points are copied in their order. */
function sequences(points: Iterable<PointRecord>, published: ReadonlySet<PointId>): SequenceRecord[] {
  const last = new Map<MachineId, number>();
  const reserved = new Map<MachineId, number>();
  for (const { id, machineId, sequence } of points) {
    last.set(machineId, Math.max(last.get(machineId) ?? 0, sequence));
    if (published.has(id)) reserved.set(machineId, Math.max(reserved.get(machineId) ?? 0, sequence));
  }
  return [...last].map(([machineId, value]) => {
    return { type: 'sequence', machineId, last: value, reserved: reserved.get(machineId) ?? 0 };
  });
}
