/** Records as tests need them, and arbitraries of them. */

import fc from 'fast-check';

import type { Json } from '../../src/catalog/json.js';
import type {
  CatalogRecord,
  CollectionRecord,
  ExternalDiskRecord,
  HoldRecord,
  MachineRecord,
  ManagedDiskRecord,
  PointRecord,
  PointState,
} from '../../src/catalog/record.js';
import { toCollectionId, toDiskId, toMachineId, toPointId, toStoreId, type StoreId } from '../../src/store/units.js';

export const storeId: StoreId = toStoreId('5'.repeat(32));

/** An id that a small number stands for. */
const numbered = (kind: string, number: number): string => kind + number.toString(16).padStart(31, '0');

export function machine(number: number, change: Partial<MachineRecord> = {}): MachineRecord {
  return {
    type: 'machine',
    id: toMachineId(numbered('a', number)),
    name: `vm${number}`,
    subscription: '00000000-0000-0000-0000-000000000000',
    resourceGroup: 'default',
    configuration: { number },
    kind: 'external',
    state: 'ready',
    diskIds: [toDiskId(numbered('d', number))],
    createdMs: 1000,
    ...change,
  };
}

export function disk(number: number, change: Partial<ExternalDiskRecord> = {}): ExternalDiskRecord {
  return {
    type: 'disk',
    id: toDiskId(numbered('d', number)),
    machineId: machine(number).id,
    name: `vm${number}-os`,
    role: 'os',
    kind: 'external',
    source: `/images/${number}.raw`,
    sectorBytes: 512,
    createdMs: 1000,
    ...change,
  };
}

/** A managed disk, attached to machine `number` as `data` unless the change says otherwise. */
export function managedDisk(number: number, change: Partial<ManagedDiskRecord> = {}): ManagedDiskRecord {
  return {
    type: 'disk',
    id: toDiskId(numbered('b', number)),
    machineId: machine(number).id,
    name: `disk${number}`,
    role: 'data',
    kind: 'managed',
    state: 'ready',
    sizeBytes: 4096,
    sectorBytes: 512,
    generation: 1,
    createdMs: 1000,
    ...change,
  };
}

export function hold(of: PointRecord): HoldRecord {
  return { type: 'hold', pointId: of.id, reason: 'audit', createdMs: 2000 };
}

export function collection(number: number, change: Partial<CollectionRecord> = {}): CollectionRecord {
  return {
    type: 'collection',
    id: toCollectionId(numbered('c', number)),
    machineId: machine(number).id,
    name: 'default',
    createdMs: 1000,
    ...change,
  };
}

/** Point `number` of machine `machineNumber`. */
export function point(
  machineNumber: number,
  number: number,
  state: PointState,
  change: Partial<PointRecord> = {},
): PointRecord {
  const { id, role, name, kind, source, sectorBytes } = disk(machineNumber);
  return {
    type: 'point',
    id: toPointId(numbered('e', machineNumber * 1000 + number)),
    machineId: machine(machineNumber).id,
    collectionId: collection(machineNumber).id,
    name: `rp${number}`,
    sequence: number,
    createdMs: 1000 + number,
    state,
    failure: state === 'failed' ? { code: 'RESTORE_POINT_LOST', message: 'gone' } : null,
    consistency: { requested: null, reached: 'crashConsistent', writers: [] },
    configuration: { number: machineNumber },
    disks: [{ id, role, name, kind, source, sizeBytes: 4096, sectorBytes, excluded: false }],
    captured: { startedMs: 1000, endedMs: 1001, bytesRead: 4096, bytesNew: 4096, bytesStored: 4096 },
    lsn: null,
    ...change,
  };
}

/** A machine with its disk and collection. */
export function wholeMachine(number: number): CatalogRecord[] {
  return [machine(number), disk(number), collection(number)];
}

/** JSON as a configuration may be. */
export const arbitraryJson: fc.Arbitrary<Json> = fc.jsonValue({ maxDepth: 3 }).map((value): Json => {
  // A cast: fast-check promises JSON; `-0` becomes `0` on its way through text, as it does in the catalog.
  return JSON.parse(JSON.stringify(value)) as Json;
});

/** Sets of records that belong together. */
export const arbitraryRecords: fc.Arbitrary<readonly CatalogRecord[]> = fc
  .array(fc.record({ configuration: arbitraryJson, pointCount: fc.integer({ min: 0, max: 4 }) }), { maxLength: 4 })
  .map((machines) =>
    machines.flatMap(({ configuration, pointCount }, index) => {
      const number = index + 1;
      const [first, ...others] = wholeMachine(number);
      const states: PointState[] = ['copied', 'failed', 'creating', 'deleting'];
      const points = states.slice(0, pointCount).map((state, at) => point(number, at + 1, state));
      return first?.type === 'machine' ? [{ ...first, configuration }, ...others, ...points] : [];
    }),
  );

/** Records as comparable text, in any order. */
export function asText(records: Iterable<CatalogRecord>): string[] {
  return [...records].map((record) => JSON.stringify(sorted(record))).sort();
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([name, member]) => [name, sorted(member)]),
  );
}
