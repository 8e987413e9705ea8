/**
 * The records of the catalog, as types. docs/catalog-format.md, section 2.
 *
 * Records are frozen values: a change is a new record under the same key.
 */

import type { DiskLimits } from '../native/engine.js';
import type { CollectionId, ConsistencyMode, DiskId, MachineId, PointId } from '../store/units.js';
import type { Json } from './json.js';

/** Whether a thing whose making or removal takes several steps is there; recovery settles the others. */
export const recordStates = ['creating', 'ready', 'deleting'] as const;

/** Whether a managed disk or a machine is there, comes, or goes. */
export type RecordState = (typeof recordStates)[number];

/** The states of a managed disk: `scratch` is a disk that is thrown away when its last client leaves, or at the next open. */
export const diskStates = ['creating', 'ready', 'deleting', 'scratch'] as const;

/** The state of a managed disk. */
export type DiskState = (typeof diskStates)[number];

/** A virtual machine. */
export interface MachineRecord {
  readonly type: 'machine';
  readonly id: MachineId;
  readonly name: string;
  readonly subscription: string;
  readonly resourceGroup: string;
  readonly configuration: Json;
  /** Whether all its disks are external, or all managed. */
  readonly kind: 'external' | 'managed';
  /** Always `ready` for a machine with external disks. */
  readonly state: RecordState;
  /** Its disks, in their order. A managed machine may have none. */
  readonly diskIds: readonly DiskId[];
  readonly createdMs: number;
}

/** A disk that someone else writes; captured by scanning it. */
export interface ExternalDiskRecord {
  readonly type: 'disk';
  readonly id: DiskId;
  readonly machineId: MachineId;
  readonly name: string;
  readonly role: string;
  readonly kind: 'external';
  /** Absolute path of the image file or block device. */
  readonly source: string;
  readonly sectorBytes: number;
  readonly createdMs: number;
}

/**
 * A disk whose live data the store holds. The superblock of its log is the truth about all but name, state and time:
 * where they differ at an open, the record is corrected.
 */
export interface ManagedDiskRecord {
  readonly type: 'disk';
  readonly id: DiskId;
  /** Null: detached. */
  readonly machineId: MachineId | null;
  readonly name: string;
  /** Unique in its machine; of a detached disk, what it was or is to be. */
  readonly role: string;
  readonly kind: 'managed';
  readonly state: DiskState;
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  readonly generation: number;
  readonly createdMs: number;
  /** Left out where it has none. */
  readonly limits?: DiskLimits;
}

/** Any disk. */
export type DiskRecord = ExternalDiskRecord | ManagedDiskRecord;

/** A named set of restore points of one machine. */
export interface CollectionRecord {
  readonly type: 'collection';
  readonly id: CollectionId;
  readonly machineId: MachineId;
  readonly name: string;
  readonly createdMs: number;
}

/** The states of a restore point; `src/coordinator/state.ts` has their transitions. */
export const pointStates = ['creating', 'cut', 'copied', 'deleting', 'failed'] as const;

/** The state of a restore point. */
export type PointState = (typeof pointStates)[number];

/** Why a point cannot be read. */
export interface PointFailure {
  /** An error code. */
  readonly code: string;
  readonly message: string;
}

/** What was asked for, what came of it, and what every writer did. */
export interface Consistency {
  /** Null when the mode was left out. */
  readonly requested: ConsistencyMode | null;
  readonly reached: ConsistencyMode;
  readonly writers: readonly Json[];
}

/** A disk as it was at the capture. */
export interface PointDisk {
  readonly id: DiskId;
  readonly role: string;
  readonly name: string;
  readonly kind: 'external' | 'managed';
  /** Path of an external disk; null for a managed one. */
  readonly source: string | null;
  /** 0 when it was excluded, and until the scan has told. */
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  readonly excluded: boolean;
}

/** The capture itself. */
export interface Captured {
  readonly startedMs: number;
  readonly endedMs: number;
  readonly bytesRead: number;
  readonly bytesNew: number;
  readonly bytesStored: number;
}

/** A restore point. */
export interface PointRecord {
  readonly type: 'point';
  readonly id: PointId;
  readonly machineId: MachineId;
  readonly collectionId: CollectionId;
  readonly name: string;
  readonly sequence: number;
  readonly createdMs: number;
  readonly state: PointState;
  /** Not null exactly in the state `failed`. */
  readonly failure: PointFailure | null;
  readonly consistency: Consistency;
  /** The machine's configuration as it was at the capture. */
  readonly configuration: Json;
  readonly disks: readonly PointDisk[];
  /** Null until the capture has ended; of managed disks, until they are copied. */
  readonly captured: Captured | null;
  /** Where the cut is in the machine's write log, as decimal digits; null for external disks and until it is cut. */
  readonly lsn: string | null;
}

/** The detail of a manifest: what it says about its point besides sizes and roots. docs/format.md, section 7. */
export interface ManifestDetail {
  readonly machine: {
    readonly id: MachineId;
    readonly name: string;
    readonly subscription: string;
    readonly resourceGroup: string;
  };
  readonly collection: { readonly id: CollectionId; readonly name: string };
  readonly name: string;
  readonly sequence: number;
  readonly createdMs: number;
  readonly consistency: Consistency;
  readonly configuration: Json;
  readonly disks: readonly PointDisk[];
  readonly captured: Captured;
  /** As in the record. */
  readonly lsn: string | null;
}

/**
 * What a cut's record in the write log says of its point besides names and disks, so that a lost catalog can be rebuilt.
 * Small, since the log keeps it: configurations, which may be large, are those of the machine.
 */
export interface CutDetail {
  readonly collectionId: CollectionId;
  readonly sequence: number;
  readonly createdMs: number;
  readonly requested: ConsistencyMode | null;
  readonly excluded: readonly DiskId[];
}

/** A user's hold on a point: it cannot be deleted. */
export interface HoldRecord {
  readonly type: 'hold';
  readonly pointId: PointId;
  readonly reason: string;
  readonly createdMs: number;
}

/** The sequence given to the machine's newest point, so that none is given twice. */
export interface SequenceRecord {
  readonly type: 'sequence';
  readonly machineId: MachineId;
  readonly last: number;
  /**
   * Up to which sequence it is known which points there are. A cut above it that has no record is one that the catalog has
   * lost. It is one above `last` where the next capture may cut before its point has a record, and below `last` where the
   * catalog was rebuilt without the machine's log. Left out it is `last`.
   */
  readonly reserved?: number;
}

/** Any record. */
export type CatalogRecord = MachineRecord | DiskRecord | CollectionRecord | PointRecord | SequenceRecord | HoldRecord;

/** A record's key. */
export type RecordKey = `${CatalogRecord['type']}/${string}`;

/** The key that a record stands under. */
export function keyOf(record: CatalogRecord): RecordKey {
  switch (record.type) {
    case 'sequence':
      return `sequence/${record.machineId}`;
    case 'hold':
      return `hold/${record.pointId}`;
    default:
      return `${record.type}/${record.id}`;
  }
}

/** One change of the catalog: a record that is put, or the key of one that goes. */
export type Change = { readonly put: CatalogRecord } | { readonly remove: RecordKey };

/** Whether the dump holds a record: what no manifest has. docs/catalog-format.md, section 5. */
export function isDumped(record: CatalogRecord): boolean {
  switch (record.type) {
    case 'machine':
    case 'disk':
    case 'collection':
    case 'hold':
      return true;
    case 'point':
      return record.state === 'failed';
    case 'sequence':
      return false;
  }
}
