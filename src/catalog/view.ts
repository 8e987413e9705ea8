/**
 * The catalog in memory: all records, by id and by name. Every read of the library is answered from here.
 *
 * Guarantees after each change: names are unique where they must be, and every id that a record names has a record
 * (docs/catalog-format.md, section 2). A change that would break this is a defect and throws before anything changes.
 * Cost: look-ups by id or name are one map access; listings are proportional to what they return.
 */

import { StillpointError } from '../store/errors.js';
import type { CollectionId, DiskId, MachineId, PointId } from '../store/units.js';
import { folded } from './names.js';
import {
  keyOf,
  type CatalogRecord,
  type Change,
  type CollectionRecord,
  type DiskRecord,
  type HoldRecord,
  type MachineRecord,
  type PointRecord,
  type RecordKey,
  type SequenceRecord,
} from './record.js';

/** What readers may ask. */
export interface CatalogView {
  /** All machines, by name. */
  machines(): MachineRecord[];
  machine(id: MachineId): MachineRecord | undefined;
  machineNamed(name: string): MachineRecord | undefined;
  disk(id: DiskId): DiskRecord | undefined;
  diskNamed(name: string): DiskRecord | undefined;
  /** A machine's disks in their order. */
  disksOf(machine: MachineRecord): DiskRecord[];
  /** All disks, by name. */
  disks(): DiskRecord[];
  collection(id: CollectionId): CollectionRecord | undefined;
  /** A machine's collections, by name. */
  collectionsOf(machineId: MachineId): CollectionRecord[];
  collectionNamed(machineId: MachineId, name: string): CollectionRecord | undefined;
  point(id: PointId): PointRecord | undefined;
  /** A machine's points, oldest first. */
  pointsOf(machineId: MachineId): PointRecord[];
  pointNamed(collectionId: CollectionId, name: string): PointRecord | undefined;
  /** How many points there are in the store. */
  readonly pointCount: number;
  /** The hold on a point. */
  hold(pointId: PointId): HoldRecord | undefined;
  /** The sequence that the machine's newest point got; 0 when it has had none. */
  lastSequence(machineId: MachineId): number;
  /** Up to which sequence it is known which points the machine has. */
  reservedSequence(machineId: MachineId): number;
  /** Every record. */
  records(): Iterable<CatalogRecord>;
  /** `VM/COLLECTION/POINT` of a point. */
  referenceOf(point: PointRecord): string;
}

/** Records with the indexes over them. */
export class CatalogTable implements CatalogView {
  readonly #records = new Map<RecordKey, CatalogRecord>();
  readonly #machines = new Map<MachineId, MachineRecord>();
  readonly #disks = new Map<DiskId, DiskRecord>();
  readonly #collections = new Map<CollectionId, CollectionRecord>();
  readonly #points = new Map<PointId, PointRecord>();
  readonly #holds = new Map<PointId, HoldRecord>();
  readonly #sequences = new Map<MachineId, SequenceRecord>();
  readonly #pointsByMachine = new Map<MachineId, Map<PointId, PointRecord>>();
  /** `kind/parent/folded name` to key: one map, because a name means something only within its parent. */
  readonly #names = new Map<string, RecordKey>();

  constructor(records: Iterable<CatalogRecord> = []) {
    this.apply([...records].map((record) => ({ put: record })));
  }

  /**
   * Makes changes, all or none, and returns the changes that would undo them. No key may stand in two of them.
   *
   * Errors: a plain `Error` when a name would be taken twice or an id would name nothing; nothing has changed then.
   */
  apply(changes: readonly Change[]): readonly Change[] {
    const inverse = changes.map((change): Change => {
      const key = keyIn(change);
      const before = this.#records.get(key);
      return before === undefined ? { remove: key } : { put: before };
    });
    try {
      this.#replace(changes);
      this.#checkReferences(changes);
    } catch (error) {
      this.#replace(inverse);
      throw error;
    }
    return inverse;
  }

  /** First everything goes that a change touches, then what is put comes: two records may swap their names. */
  #replace(changes: readonly Change[]): void {
    for (const change of changes) {
      const before = this.#records.get(keyIn(change));
      if (before !== undefined) this.#drop(keyIn(change), before);
    }
    for (const change of changes) {
      if ('put' in change) this.#take(keyOf(change.put), change.put);
    }
  }

  get(key: RecordKey): CatalogRecord | undefined {
    return this.#records.get(key);
  }

  records(): Iterable<CatalogRecord> {
    return this.#records.values();
  }

  machines(): MachineRecord[] {
    return byName(this.#machines.values());
  }

  machine(id: MachineId): MachineRecord | undefined {
    return this.#machines.get(id);
  }

  machineNamed(name: string): MachineRecord | undefined {
    const record = this.#named('machine', '', name);
    return record?.type === 'machine' ? record : undefined;
  }

  disk(id: DiskId): DiskRecord | undefined {
    return this.#disks.get(id);
  }

  diskNamed(name: string): DiskRecord | undefined {
    const record = this.#named('disk', '', name);
    return record?.type === 'disk' ? record : undefined;
  }

  disksOf(machine: MachineRecord): DiskRecord[] {
    return machine.diskIds.flatMap((id) => this.#disks.get(id) ?? []);
  }

  disks(): DiskRecord[] {
    return byName(this.#disks.values());
  }

  hold(pointId: PointId): HoldRecord | undefined {
    return this.#holds.get(pointId);
  }

  collection(id: CollectionId): CollectionRecord | undefined {
    return this.#collections.get(id);
  }

  collectionsOf(machineId: MachineId): CollectionRecord[] {
    return byName([...this.#collections.values()].filter((collection) => collection.machineId === machineId));
  }

  collectionNamed(machineId: MachineId, name: string): CollectionRecord | undefined {
    const record = this.#named('collection', machineId, name);
    return record?.type === 'collection' ? record : undefined;
  }

  point(id: PointId): PointRecord | undefined {
    return this.#points.get(id);
  }

  pointsOf(machineId: MachineId): PointRecord[] {
    const points = this.#pointsByMachine.get(machineId);
    return points === undefined ? [] : [...points.values()].sort((left, right) => left.sequence - right.sequence);
  }

  pointNamed(collectionId: CollectionId, name: string): PointRecord | undefined {
    const record = this.#named('point', collectionId, name);
    return record?.type === 'point' ? record : undefined;
  }

  get pointCount(): number {
    return this.#points.size;
  }

  lastSequence(machineId: MachineId): number {
    return this.#sequences.get(machineId)?.last ?? 0;
  }

  reservedSequence(machineId: MachineId): number {
    const sequence = this.#sequences.get(machineId);
    return sequence === undefined ? 0 : (sequence.reserved ?? sequence.last);
  }

  referenceOf(point: PointRecord): string {
    const machine = this.#machines.get(point.machineId);
    const collection = this.#collections.get(point.collectionId);
    if (machine === undefined || collection === undefined) {
      throw new StillpointError('INTERNAL', `the point ${point.id} has no machine or collection`, {
        pointId: point.id,
      });
    }
    return `${machine.name}/${collection.name}/${point.name}`;
  }

  #named(kind: CatalogRecord['type'], parent: string, name: string): CatalogRecord | undefined {
    const key = this.#names.get(`${kind}/${parent}/${folded(name)}`);
    return key === undefined ? undefined : this.#records.get(key);
  }

  #take(key: RecordKey, record: CatalogRecord): void {
    for (const name of namesOf(record)) {
      if (this.#names.has(name)) throw new Error(`the name ${name} is taken twice`);
    }
    for (const name of namesOf(record)) this.#names.set(name, key);
    this.#records.set(key, record);
    switch (record.type) {
      case 'machine':
        this.#machines.set(record.id, record);
        break;
      case 'disk':
        this.#disks.set(record.id, record);
        break;
      case 'collection':
        this.#collections.set(record.id, record);
        break;
      case 'point': {
        const points = this.#pointsByMachine.get(record.machineId) ?? new Map<PointId, PointRecord>();
        this.#pointsByMachine.set(record.machineId, points.set(record.id, record));
        this.#points.set(record.id, record);
        break;
      }
      case 'sequence':
        this.#sequences.set(record.machineId, record);
        break;
      case 'hold':
        this.#holds.set(record.pointId, record);
        break;
    }
  }

  #drop(key: RecordKey, record: CatalogRecord): void {
    for (const name of namesOf(record)) if (this.#names.get(name) === key) this.#names.delete(name);
    this.#records.delete(key);
    switch (record.type) {
      case 'machine':
        this.#machines.delete(record.id);
        break;
      case 'disk':
        this.#disks.delete(record.id);
        break;
      case 'collection':
        this.#collections.delete(record.id);
        break;
      case 'point':
        this.#pointsByMachine.get(record.machineId)?.delete(record.id);
        if (this.#pointsByMachine.get(record.machineId)?.size === 0) this.#pointsByMachine.delete(record.machineId);
        this.#points.delete(record.id);
        break;
      case 'sequence':
        this.#sequences.delete(record.machineId);
        break;
      case 'hold':
        this.#holds.delete(record.pointId);
        break;
    }
  }

  /** Only what the changes touch: records that were put, and, where one was removed, all that may have named it. */
  #checkReferences(changes: readonly Change[]): void {
    const isRemoving = changes.some((change) => 'remove' in change && !change.remove.startsWith('point/'));
    const touched = isRemoving
      ? this.#records.values()
      : changes.flatMap((change) => ('put' in change ? [change.put] : []));
    for (const record of touched) {
      const missing = this.#missingReference(record);
      if (missing !== null) throw new Error(`${keyOf(record)} names ${missing}, which is not there`);
    }
    for (const { pointId } of this.#holds.values()) {
      if (!this.#points.has(pointId)) throw new Error(`hold/${pointId} names a point that is not there`);
    }
  }

  #missingReference(record: CatalogRecord): string | null {
    if (record.type === 'machine') {
      const lost = record.diskIds.find((id) => this.#disks.get(id)?.machineId !== record.id);
      return lost === undefined ? null : `disk/${lost}`;
    }
    if (record.type === 'hold' || (record.type === 'disk' && record.machineId === null)) return null;
    const machine = record.machineId === null ? undefined : this.#machines.get(record.machineId);
    if (machine === undefined) return `machine/${String(record.machineId)}`;
    if (record.type === 'disk' && !machine.diskIds.includes(record.id)) return `machine/${machine.id} as its machine`;
    if (record.type === 'point' && this.#collections.get(record.collectionId)?.machineId !== record.machineId) {
      return `collection/${record.collectionId}`;
    }
    return null;
  }
}

function keyIn(change: Change): RecordKey {
  return 'put' in change ? keyOf(change.put) : change.remove;
}

function namesOf(record: CatalogRecord): string[] {
  switch (record.type) {
    case 'machine':
      return [`machine//${folded(record.name)}`];
    case 'disk':
      return [
        `disk//${folded(record.name)}`,
        ...(record.machineId === null ? [] : [`role/${record.machineId}/${folded(record.role)}`]),
      ];
    case 'collection':
      return [`collection/${record.machineId}/${folded(record.name)}`];
    case 'point':
      return [`point/${record.collectionId}/${folded(record.name)}`];
    case 'sequence':
    case 'hold':
      return [];
  }
}

function byName<T extends { readonly name: string }>(records: Iterable<T>): T[] {
  return [...records].sort((left, right) => (folded(left.name) < folded(right.name) ? -1 : 1));
}
