/**
 * Brings the catalog's records in line with the write logs: which managed disks there are, and which points wait in the
 * logs for their copies. docs/catalog-format.md, section 6.
 *
 * Pure. The logs' superblocks are the truth about live disks, so a record that says something else is corrected; a disk
 * that no log has stays in the catalog and is reported each time, because somebody may bring its log back.
 */

import type { LiveDisk, PendingCut } from '../native/engine.js';
import { toDiskId, toMachineId, toPointId, type DiskId, type MachineId } from '../store/units.js';
import { decodeCutDetail } from './detail.js';
import { isName, freeName } from './names.js';
import type {
  CatalogRecord,
  Change,
  CollectionRecord,
  DiskRecord,
  MachineRecord,
  ManagedDiskRecord,
  PointFailure,
  PointRecord,
  SequenceRecord,
} from './record.js';
import type { CatalogView } from './view.js';

/** What has to change, and what was found. */
export interface Alignment {
  readonly changes: readonly Change[];
  /** Managed disks that no log has. */
  readonly lost: readonly ManagedDiskRecord[];
  /** Disks whose record was corrected, or that had none: what to say of each. */
  readonly corrected: readonly { readonly diskId: DiskId; readonly isNew: boolean; readonly message: string }[];
}

/** How the records have to change so that they say of live disks what the logs say. `createdMs` is for what is new. */
export function alignedDisks(view: CatalogView, live: readonly LiveDisk[], createdMs: number): Alignment {
  const found = new Map(live.map((disk) => [toDiskId(disk.diskId), disk]));
  const machines = new Map<MachineId, MachineRecord>();
  const disks = new Map<DiskId, ManagedDiskRecord>();
  const corrected: Alignment['corrected'][number][] = [];
  const names = new Set(view.disks().map((disk) => disk.name.toLowerCase()));
  for (const [id, disk] of found) {
    const machine = machineOf(view, machines, disk, createdMs);
    const record = view.disk(id);
    if (record === undefined) {
      const wanted = isName(disk.name) ? disk.name : `disk-${id.slice(0, 8)}`;
      const name = freeName(wanted, (candidate) => names.has(candidate.toLowerCase()));
      names.add(name.toLowerCase());
      disks.set(id, diskRecord(id, name, disk, machine, createdMs));
      corrected.push({ diskId: id, isNew: true, message: `the catalog did not know the disk ${name}; it was added` });
      continue;
    }
    // One that is being made or removed stays so: recovery undoes the one and finishes the other.
    const state = record.kind === 'managed' ? record.state : 'ready';
    const limits = record.kind === 'managed' && record.limits !== undefined ? { limits: record.limits } : {};
    const next = { ...diskRecord(id, record.name, disk, machine, record.createdMs), state, ...limits };
    if (record.kind === 'managed' && isSame(record, next)) continue;
    disks.set(id, next);
    const message = `the disk ${record.name} is ${placeOf(view, machines, next)} with ${next.sizeBytes} bytes; the catalog said otherwise and was corrected`;
    corrected.push({ diskId: id, isNew: false, message });
  }
  const known = (id: DiskId): DiskRecord | undefined => disks.get(id) ?? view.disk(id);
  const all = [...view.disks().filter((disk) => !disks.has(disk.id)), ...disks.values()];
  for (const machine of [...view.machines(), ...machines.values()]) {
    if (machine.kind !== 'managed') continue;
    const kept = machine.diskIds.filter((id) => known(id)?.machineId === machine.id);
    const added = all.filter((disk) => disk.machineId === machine.id && !kept.includes(disk.id)).map(({ id }) => id);
    const isChanged = kept.length !== machine.diskIds.length || added.length > 0;
    if (isChanged) machines.set(machine.id, { ...machine, diskIds: [...kept, ...added] });
  }
  const lost = view
    .disks()
    .filter((disk): disk is ManagedDiskRecord => disk.kind === 'managed' && disk.state === 'ready')
    .filter((disk) => !found.has(disk.id));
  const changes = [...machines.values(), ...disks.values()].map((record): Change => ({ put: record }));
  return { changes, lost, corrected };
}

/** The machine that a live disk is attached to; made where the catalog has lost it. */
function machineOf(
  view: CatalogView,
  made: Map<MachineId, MachineRecord>,
  disk: LiveDisk,
  createdMs: number,
): MachineId | null {
  if (disk.machineId === null) return null;
  const id = toMachineId(disk.machineId);
  if (view.machine(id) === undefined && !made.has(id)) made.set(id, unnamedMachine(view, id, createdMs));
  return id;
}

function unnamedMachine(view: CatalogView, id: MachineId, createdMs: number): MachineRecord {
  return {
    type: 'machine',
    id,
    name: freeName(`machine-${id.slice(0, 8)}`, (name) => view.machineNamed(name) !== undefined),
    subscription: '00000000-0000-0000-0000-000000000000',
    resourceGroup: 'default',
    configuration: null,
    kind: 'managed',
    state: 'ready',
    diskIds: [],
    createdMs,
  };
}

function diskRecord(
  id: DiskId,
  name: string,
  { role, sizeBytes, sectorBytes, generation }: LiveDisk,
  machineId: MachineId | null,
  createdMs: number,
): ManagedDiskRecord {
  return {
    type: 'disk',
    id,
    machineId,
    name,
    role,
    kind: 'managed',
    state: 'ready',
    sizeBytes,
    sectorBytes,
    generation,
    createdMs,
  };
}

function isSame(left: ManagedDiskRecord, right: ManagedDiskRecord): boolean {
  const { machineId, role, state, sizeBytes, sectorBytes, generation } = right;
  return (
    left.machineId === machineId &&
    left.role === role &&
    left.state === state &&
    left.sizeBytes === sizeBytes &&
    left.sectorBytes === sectorBytes &&
    left.generation === generation
  );
}

function placeOf(
  view: CatalogView,
  made: ReadonlyMap<MachineId, MachineRecord>,
  { machineId, role }: ManagedDiskRecord,
): string {
  if (machineId === null) return 'detached';
  const machine = made.get(machineId) ?? view.machine(machineId);
  return `attached to ${machine?.name ?? machineId} as ${role}`;
}

/**
 * The records of points that a catalog takes from the logs: crash-consistent, as nothing else is known of them. Hidden
 * points are none. They are `cut`, or failed where that is said.
 */
export function pointsFromCuts(
  view: CatalogView,
  cuts: readonly PendingCut[],
  failureOf: (cut: PendingCut) => PointFailure | null = () => null,
): readonly { readonly put: CatalogRecord }[] {
  const collections = new Map<string, CollectionRecord>();
  const taken = new Set<string>();
  const last = new Map<MachineId, number>();
  // The youngest of a name has it: the others were deleted, or never answered.
  const youngestFirst = [...cuts].sort((left, right) => sequenceOf(right) - sequenceOf(left));
  const points = youngestFirst.flatMap((cut): PointRecord[] => {
    const detail = decodeCutDetail(cut.detail);
    const failure = failureOf(cut);
    const machine = view.machine(toMachineId(cut.machineId));
    if (detail === null || machine === undefined || !isName(cut.name) || !isName(cut.collection)) return [];
    const known = view.collection(detail.collectionId) ?? view.collectionNamed(machine.id, cut.collection);
    const collection: CollectionRecord = known ??
      collections.get(`${machine.id}/${cut.collection.toLowerCase()}`) ?? {
        type: 'collection',
        id: detail.collectionId,
        machineId: machine.id,
        name: cut.collection,
        createdMs: detail.createdMs,
      };
    if (known === undefined) collections.set(`${machine.id}/${cut.collection.toLowerCase()}`, collection);
    const key = (name: string): string => `${collection.id}/${name.toLowerCase()}`;
    const name = freeName(
      cut.name,
      (candidate) => view.pointNamed(collection.id, candidate) !== undefined || taken.has(key(candidate)),
    );
    taken.add(key(name));
    last.set(machine.id, Math.max(last.get(machine.id) ?? view.lastSequence(machine.id), detail.sequence));
    return [
      {
        type: 'point',
        id: toPointId(cut.pointId),
        machineId: machine.id,
        collectionId: collection.id,
        name,
        sequence: detail.sequence,
        createdMs: detail.createdMs,
        state: failure === null ? 'cut' : 'failed',
        failure,
        consistency: { requested: detail.requested, reached: 'crashConsistent', writers: [] },
        configuration: machine.configuration,
        disks: cut.disks.map(({ diskId, sizeBytes, sectorBytes }) => {
          const id = toDiskId(diskId);
          const disk = view.disk(id);
          const excluded = detail.excluded.includes(id);
          return {
            id,
            role: disk?.role ?? `disk-${id.slice(0, 8)}`,
            name: disk?.name ?? `disk-${id.slice(0, 8)}`,
            kind: 'managed',
            source: null,
            sizeBytes: excluded ? 0 : sizeBytes,
            sectorBytes,
            excluded,
          };
        }),
        captured: null,
        lsn: failure === null ? cut.lsn : null,
      },
    ];
  });
  const sequences = [...last].map(([machineId, value]): SequenceRecord => {
    return { type: 'sequence', machineId, last: value };
  });
  return [...collections.values(), ...sequences, ...points].map((record) => ({ put: record }));
}

/** The number of a cut's point; 0 where the cut does not tell. */
export function sequenceOf({ detail }: PendingCut): number {
  return decodeCutDetail(detail)?.sequence ?? 0;
}
