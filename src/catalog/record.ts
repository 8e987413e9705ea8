/**
 * The records of the catalog, as types. docs/catalog-format.md, section 2.
 *
 * Records are frozen values: a change is a new record under the same key.
 */

import type { CollectionId, ConsistencyMode, DiskId, MachineId, PointId } from '../store/units.js';
import type { Json } from './json.js';

/** A virtual machine. */
export interface MachineRecord {
  readonly type: 'machine';
  readonly id: MachineId;
  readonly name: string;
  readonly subscription: string;
  readonly resourceGroup: string;
  readonly configuration: Json;
  /** Its disks, in their order. */
  readonly diskIds: readonly DiskId[];
  readonly createdMs: number;
}

/** A disk that someone else writes; captured by scanning it. */
export interface DiskRecord {
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
  /** Null until the capture has ended. */
  readonly captured: Captured | null;
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
}

/** The sequence given to the machine's newest point, so that none is given twice. */
export interface SequenceRecord {
  readonly type: 'sequence';
  readonly machineId: MachineId;
  readonly last: number;
}

/** Any record. */
export type CatalogRecord = MachineRecord | DiskRecord | CollectionRecord | PointRecord | SequenceRecord;

/** A record's key. */
export type RecordKey = `${CatalogRecord['type']}/${string}`;

/** The key that a record stands under. */
export function keyOf(record: CatalogRecord): RecordKey {
  return record.type === 'sequence' ? `sequence/${record.machineId}` : `${record.type}/${record.id}`;
}

/** One change of the catalog: a record that is put, or the key of one that goes. */
export type Change = { readonly put: CatalogRecord } | { readonly remove: RecordKey };

/** Whether the dump holds a record: what no manifest has. docs/catalog-format.md, section 5. */
export function isDumped(record: CatalogRecord): boolean {
  switch (record.type) {
    case 'machine':
    case 'disk':
    case 'collection':
      return true;
    case 'point':
      return record.state === 'failed';
    case 'sequence':
      return false;
  }
}
