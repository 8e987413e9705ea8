/** What callers get: the store, machines, restore points, diffs and reports. */

import type { Json } from '../catalog/json.js';
import type { Captured, PointFailure } from '../catalog/record.js';
import type { CollectReport, Extent, LivePressure, RestoreReport, StoreInfo, Usage } from '../native/engine.js';
import type {
  CaptureOptions,
  CollectOptions,
  CreateDiskRequest,
  CreateVirtualMachineRequest,
  DiffOptions,
  ImportDiskRequest,
  LongCallOptions,
  ReadOptions,
  RestoreDisksOptions,
  RestoreInPlaceOptions,
  RestoreOptions,
  RestoreToDiskOptions,
  RestoreToMachineOptions,
  StatisticsOptions,
  VerifyOptions,
  VirtualMachineChange,
} from './requests.js';
import type { Disk, DiskInfo, Unavailable } from './disk-handle.js';
import type { EventOptions, FailedLog, StoreEvent } from './events.js';
import type { NbdOptions, NbdServer } from './nbd.js';
import type { StoreStatistics } from './statistics.js';
import type { RestoredDisk } from './target-directory.js';
import type { ConsistencyMode, DiskId, MachineId, PointId } from './units.js';

/** Disks that are captured together, with a configuration. */
export interface VirtualMachine {
  readonly id: MachineId;
  readonly name: string;
  /** Whether its disks are external, or managed: then they form one consistency group. */
  readonly kind: 'external' | 'managed';
  readonly subscription: string;
  readonly resourceGroup: string;
  readonly configuration: Json;
  readonly disks: readonly VirtualMachineDisk[];
  readonly createdMs: number;
  /** Only while its write log takes no writes, or could not be opened: its disks, captures and copies wait. */
  readonly unavailable?: Unavailable;
}

/** A machine that can be captured through what was returned. `capture` is not enumerable: it is not printed. */
export interface VirtualMachineHandle extends VirtualMachine {
  /** As `store.capture` with its name. */
  capture(options?: CaptureOptions): Promise<CapturedPoint>;
}

/** A disk of a machine. */
export interface VirtualMachineDisk {
  readonly id: DiskId;
  /** Unique in the machine. */
  readonly role: string;
  /** Unique in the store; `MACHINE-ROLE` for an external disk. */
  readonly name: string;
  readonly kind: 'external' | 'managed';
  /** Absolute path of the image file or block device; empty for a managed disk. */
  readonly source: string;
  /** Of a managed disk only: its size now. */
  readonly sizeBytes?: number;
  readonly sectorBytes: number;
}

/** All disks of a machine at one moment. */
export interface RestorePoint {
  readonly id: PointId;
  readonly name: string;
  /** Name of the machine. */
  readonly machine: string;
  /** Name of the collection. */
  readonly collection: string;
  /** `VM/COLLECTION/POINT`. */
  readonly reference: string;
  /** Order of the machine's points; grows with each capture, not always by one. */
  readonly sequence: number;
  readonly createdMs: number;
  /** `cut`: of managed disks, not copied yet; it can be used all the same. */
  readonly state: 'cut' | 'copied' | 'deleting' | 'failed';
  /** There in the state `cut` only: how much of the copy is done, 0 to 99. */
  readonly completionPercent?: number;
  /** Of managed disks only: where the cut is in the machine's write log, as decimal digits. */
  readonly lsn?: string;
  /** There while a hold keeps the point from being deleted. */
  readonly hold?: { readonly reason: string; readonly createdMs: number };
  /** There in the state `failed` only: why the point cannot be read. */
  readonly failure?: PointFailure;
  readonly consistency: {
    /** Null when the mode was left out. */
    readonly requested: ConsistencyMode | null;
    readonly reached: ConsistencyMode;
    /** What each writer did. */
    readonly writers: readonly Json[];
  };
  /** The machine's configuration as it was at the capture. */
  readonly configuration: Json;
  readonly disks: readonly RestorePointDisk[];
  /** The capture itself: its window, bytes read, plain bytes that were new, bytes that the store grew by. */
  readonly captured: Captured;
}

/** A point that was captured just now. `copied` is not enumerable: it is not printed. */
export interface CapturedPoint extends RestorePoint {
  /**
   * Resolves with the point when its background copy has ended; at once for external disks. Cancelling ends the waiting,
   * not the copy.
   *
   * Errors: what the copy fails with (waiting again tries again), `POINT_NOT_FOUND` when the point is deleted first,
   * `STORE_CLOSED` (the copy goes on at the next open), `CANCELLED`.
   */
  copied(options?: LongCallOptions): Promise<RestorePoint>;
  /** How much of the copy is done now: 0 to 100, and 100 only when it is. */
  readonly completionPercent: number;
}

/** A moment that something was restored from. */
export interface RestoredMoment {
  /** The last record that counted. */
  readonly lsn: string;
  readonly timeMs: number;
}

/** What `restore` answers. */
export interface FileRestoreReport extends RestoreReport {
  /** There when a moment was asked for. */
  readonly at?: RestoredMoment;
}

/** What `restoreToDisk` answers. */
export interface DiskRestoreReport {
  readonly disk: DiskInfo;
  readonly at?: RestoredMoment;
}

/** What `restoreInPlace` answers. */
export interface InPlaceRestoreReport {
  /** Name of the machine. */
  readonly machine: string;
  /** Roles of the disks. */
  readonly disks: readonly string[];
  /** The record that did it: what is below it in the log can still be gone back to. */
  readonly lsn: string;
  readonly at?: RestoredMoment;
}

/** What `restoreToMachine` answers. */
export interface MachineRestoreReport {
  readonly machine: VirtualMachine;
  readonly at?: RestoredMoment;
}

/** A disk as it was at the capture. */
export interface RestorePointDisk {
  readonly id: DiskId;
  readonly role: string;
  readonly name: string;
  readonly kind: 'external' | 'managed';
  /** Path of an external disk; empty for a managed one. */
  readonly source: string;
  /** 0 when the disk was excluded. */
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /** The capture left the disk out; nothing of it is stored. */
  readonly excluded: boolean;
}

/** Something that is wrong in the store, or was until opening it put it right. */
export interface Finding {
  /** The file, relative to the store. */
  readonly file: string;
  /** Where in the file; null when the whole file is meant. */
  readonly offset: number | null;
  readonly length: number | null;
  /** An error code. */
  readonly code: string;
  readonly message: string;
  /** What it hits. */
  readonly hits: readonly FindingHit[];
}

/** Bytes of a disk restore point that are hit. */
export interface FindingHit {
  /** Reference of the point; its id when the catalog does not know it. */
  readonly point: string;
  /** Role of the disk; its id when the catalog does not know it. */
  readonly disk: string;
  /** Sorted and disjoint, in bytes. */
  readonly ranges: readonly { readonly offset: number; readonly length: number }[];
}

/** The sizes that a diff is about. */
export interface DiffHeader {
  readonly sizeBefore: number;
  readonly sizeAfter: number;
  /** Bytes that were compared as one: the option, or the chunk size. */
  readonly granularity: number;
}

/**
 * The extents in which two disk restore points differ, as an iterable that can be gone through once.
 *
 * Shapes: extents sorted, disjoint and maximal, within [0, sizeAfter). Applied to the earlier point they give the later.
 * Holds: nothing is looked up before the first `next()` or the first access of `header`. While it is gone through,
 * `collect` waits; leaving the loop ends that.
 */
export interface Diff extends AsyncIterable<Extent> {
  /** Sizes and granularity; may be asked for before, during and after the iteration, or alone. */
  readonly header: Promise<DiffHeader>;
}

/** What a verification looked at and found. */
export interface VerifyReport {
  /** Empty when everything is sound. */
  readonly findings: readonly Finding[];
  readonly pointsChecked: number;
  readonly chunksChecked: number;
  readonly bytesRead: number;
}

/** What a restore of several disks wrote. */
export interface RestoreDisksReport {
  /** In the order of the request, or of the point. */
  readonly disks: readonly RestoredDisk[];
  /** There when a moment was asked for. */
  readonly at?: RestoredMoment;
}

/** How the store is. */
export interface StoreStatus extends Usage {
  readonly info: StoreInfo;
  /** Absolute path of the store. */
  readonly path: string;
  readonly readOnly: boolean;
  /** How many there are. */
  readonly machines: number;
  readonly points: number;
  /** Managed disks. */
  readonly disks: number;
  /** How far writers are ahead of the copies. */
  readonly live: LivePressure;
  /** Captures and deletions that run, or that an earlier failure left for the next open. */
  readonly work: readonly StoreWork[];
  /** The write logs that take no writes, or could not be opened: their machines wait for `reopenLogs`. */
  readonly failedLogs: readonly FailedLog[];
}

/** Work in progress. */
export interface StoreWork {
  /** Name of the machine. */
  readonly machine: string;
  /** Reference of the point. */
  readonly point: string;
  readonly state: 'creating' | 'cut' | 'deleting';
  /** There in the state `cut`: how much of the copy is done. */
  readonly completionPercent?: number;
}

/**
 * An open store. Calls may run side by side; docs/concurrency.md tells which wait for which.
 *
 * Every call rejects with `STORE_CLOSED` once `close` was called. Calls that change something reject with
 * `STORE_READ_ONLY` in a store that is open for reading only, and with `STORE_FENCED` after a write or sync that failed.
 */
export interface Store extends AsyncDisposable {
  readonly info: StoreInfo;
  readonly readOnly: boolean;
  /** What opening found or put right; empty for a sound store. */
  readonly findings: readonly Finding[];

  /**
   * Creates a machine, with external disks (the images need not exist yet) or with managed ones.
   *
   * Holds: the machine survives a power cut; a machine with managed disks is there whole or not at all. Cost: importing
   * reads the images. Errors: `MACHINE_EXISTS`, `DISK_EXISTS`, `NAME_INVALID`, `ARGUMENT_INVALID`; with managed disks
   * also `DISK_NOT_FOUND`, `DISK_ATTACHED`, `DISK_BUSY`, those of `importDisk`.
   */
  createVirtualMachine(request: CreateVirtualMachineRequest, options?: LongCallOptions): Promise<VirtualMachineHandle>;
  /**
   * Changes a machine's configuration, disks or paths.
   *
   * Holds: the change survives a power cut; points keep what they had. Errors: `MACHINE_NOT_FOUND`, `DISK_NOT_FOUND`,
   * `DISK_EXISTS`, `NAME_INVALID`, `ARGUMENT_INVALID`.
   */
  updateVirtualMachine(name: string, change: VirtualMachineChange): Promise<VirtualMachineHandle>;
  /**
   * Forgets a machine that has no points, with its collections. Managed disks stay, detached.
   *
   * Errors: `MACHINE_NOT_FOUND`, `MACHINE_NOT_EMPTY`.
   */
  deleteVirtualMachine(name: string): Promise<void>;
  /** All machines, by name. */
  virtualMachines(): Promise<VirtualMachine[]>;
  /** One machine. Errors: `MACHINE_NOT_FOUND`. */
  virtualMachine(name: string): Promise<VirtualMachineHandle>;

  /** Creates a detached disk of zeros; durable when it resolves. Errors: `DISK_EXISTS`, `NAME_INVALID`, `ARGUMENT_INVALID`. */
  createDisk(request: CreateDiskRequest): Promise<Disk>;
  /**
   * Creates a detached disk with the content of an image, which is read once.
   *
   * Errors: those of `createDisk`; `SOURCE_NOT_FOUND`, `SOURCE_NOT_A_DISK`, `SOURCE_SIZE_INVALID`, `SOURCE_NOT_STILL`,
   * `SOURCE_CHANGED`, `SOURCE_NOT_EXCLUSIVE`, `NO_SPACE`, `CANCELLED`.
   */
  importDisk(request: ImportDiskRequest): Promise<Disk>;
  /**
   * Creates a detached disk with the content of a point's disk, `VM/POINT/DISK`: at once, also while the point is copied.
   *
   * Errors: those of `createDisk` and of `diff`.
   */
  cloneDisk(name: string, pointDisk: string): Promise<Disk>;
  /** A managed disk. Errors: `DISK_NOT_FOUND`. */
  disk(name: string): Promise<Disk>;
  /** All managed disks, by name. */
  disks(): Promise<DiskInfo[]>;
  /**
   * Tries again to open the write logs that could not be opened with the store (of a disk that was full, a device that is
   * back, permissions that were put right), and opens those anew that take no more writes (`LOG_FENCED`).
   *
   * Holds: what could be opened works as if it had been opened with the store: what was flushed is there, interrupted work of
   * its machine is settled, copies go on. Of a log that took no more writes, what was not flushed may be gone, as after a power
   * cut; then an `UNCLEAN_STOP` says how much, and NBD clients that had its disks open are disconnected with an error.
   * Other machines notice nothing. Resolves with what that found, and a `LOG_UNAVAILABLE` or `LOG_FENCED` for each log with which it
   * failed, which stays as it was. Cost: nothing where none waits. Errors: `STORE_READ_ONLY`, `STORE_CLOSED`.
   */
  reopenLogs(): Promise<Finding[]>;

  /**
   * Captures all disks of a machine as one restore point.
   *
   * Holds: when it resolves the point survives a power cut and can be read. When it rejects, is cancelled or crashes,
   * the point is gone; after a crash or a failed write it may also be there, whole, once the store is opened again.
   * A point of managed disks is `cut` then: it can be read, diffed, restored and cloned at once, and is copied in the
   * background. Cost: of external disks, reads what the images hold and stores what is new; of managed ones, one sync.
   * Errors of managed disks: `LAYERS_FULL`, `LOG_FENCED`, `LOG_DAMAGED`.
   * Errors: `MACHINE_NOT_FOUND`, `CAPTURE_IN_PROGRESS`, `POINT_EXISTS`, `POINT_LIMIT_REACHED`, `NAME_INVALID`,
   * `DISK_NOT_FOUND`, `NO_WRITERS`, `SOURCE_NOT_FOUND`, `SOURCE_NOT_A_DISK`, `SOURCE_SIZE_INVALID`,
   * `SOURCE_NOT_EXCLUSIVE`, `SOURCE_NOT_STILL`, `SOURCE_CHANGED`, `NO_SPACE`, `CANCELLED`.
   */
  capture(machine: string, options?: CaptureOptions): Promise<CapturedPoint>;
  /** The points of one machine, oldest first, or of all, machines by name. Errors: `MACHINE_NOT_FOUND`. */
  restorePoints(machine?: string): Promise<RestorePoint[]>;
  /**
   * One point by `VM/COLLECTION/POINT`, or `VM/POINT` where that is unambiguous.
   *
   * Errors: `MACHINE_NOT_FOUND`, `COLLECTION_NOT_FOUND`, `POINT_NOT_FOUND`, `NAME_AMBIGUOUS` with the candidates.
   */
  restorePoint(reference: string): Promise<RestorePoint>;
  /**
   * The extents in which a disk differs between two points, of one machine or of two.
   *
   * Errors, from the iteration and from `header`: those of `restorePoint`, `DISK_NOT_FOUND`, `RESTORE_POINT_LOST`,
   * `POINT_BUSY`, `NODE_DAMAGED`, `NODE_MISSING`, with a granularity also `CHUNK_DAMAGED` and `CHUNK_MISSING`,
   * `CANCELLED`. Options that are out of range throw at once.
   */
  diff(before: string, after: string, options: DiffOptions): Diff;
  /** Bytes of a disk restore point, checked. Errors: those of `diff`; `ARGUMENT_INVALID` past the end. */
  read(point: string, options: ReadOptions): Promise<Uint8Array>;
  /**
   * Writes a disk restore point to a file or block device.
   *
   * Holds: when it resolves the target has the disk's bytes, durably with `sync`. A new file appears only when it is
   * whole. Errors: those of `diff`; `TARGET_EXISTS`, `TARGET_INVALID`, `TARGET_TOO_SMALL`, `NO_SPACE`, `CANCELLED`.
   */
  restore(point: string, options: RestoreOptions): Promise<FileRestoreReport>;
  /**
   * Writes disks of a restore point to `ROLE.raw` in a directory, two at a time.
   *
   * Holds: when it resolves every file has its disk's bytes, durably with `sync`. When it rejects, none of the files and
   * directories that it made is left; one that was there and was to be written over may be part old, part new.
   * Errors: those of `restore`; `TARGET_EXISTS` before anything is written; `PERMISSION_DENIED`.
   */
  restoreDisks(point: string, options: RestoreDisksOptions): Promise<RestoreDisksReport>;
  /**
   * Makes a new detached disk of a point's disk, at once, also while the point is copied.
   *
   * Errors: those of `cloneDisk`; with `at` also `MACHINE_NOT_MANAGED`, `MOMENT_NOT_KEPT`.
   */
  restoreToDisk(point: string, options: RestoreToDiskOptions): Promise<DiskRestoreReport>;
  /**
   * Gives disks of the point's machine back the content and size that they had, at once: one record of the log.
   *
   * Holds: when it resolves readers see it; it is durable with the next flush, as any write. Errors: those of `diff`;
   * `MACHINE_NOT_MANAGED`, `DISKS_DIFFER` without `disks`, `DISK_NOT_FOUND`, `DISK_BUSY`, `ARGUMENT_INVALID` where sector
   * sizes differ; with `at` also `MOMENT_NOT_KEPT`.
   */
  restoreInPlace(point: string, options?: RestoreInPlaceOptions): Promise<InPlaceRestoreReport>;
  /**
   * Makes a new machine of a point: its configuration and all its disks, as managed ones, at once.
   *
   * Holds: the machine is there whole or not at all. Errors: those of `createVirtualMachine` and `restoreToDisk`.
   */
  restoreToMachine(point: string, options: RestoreToMachineOptions): Promise<MachineRestoreReport>;
  /** Keeps a point from being deleted. A hold that is there gets the new reason. Errors: those of `restorePoint`, `POINT_BUSY`. */
  holdPoint(reference: string, reason: string): Promise<RestorePoint>;
  /** Takes a hold away; nothing happens where there is none. Errors: those of `restorePoint`. */
  unholdPoint(reference: string): Promise<RestorePoint>;
  /**
   * Deletes a restore point, also a failed one.
   *
   * Holds: the point is gone durably; its space comes back with the next `collect`. A point whose copy runs is deleted
   * too; where a disk of another machine stands on it, that takes until it is copied. Errors: those of `restorePoint`,
   * `POINT_BUSY`, `POINT_HELD`.
   */
  deletePoint(reference: string): Promise<void>;

  /** Gives back the space of what no point needs. Runs alone. Errors: `CANCELLED`, `MANIFEST_DAMAGED` and others. */
  collect(options?: CollectOptions): Promise<CollectReport>;
  /** Checks what is stored. Damage is in the report, not thrown. Errors: `CANCELLED`. */
  verify(options?: VerifyOptions): Promise<VerifyReport>;
  /** Sizes, counts and running work. */
  status(): Promise<StoreStatus>;
  /**
   * What machines and points take, and what deleting them would free. Reads all block maps and the packs' trailers.
   *
   * Two points that share a chunk free it only when both go, so deleting several frees at least the sum of what each frees.
   * Errors: `MACHINE_NOT_FOUND`, `MANIFEST_DAMAGED`, `NODE_DAMAGED`, `NODE_MISSING`, `CANCELLED`.
   */
  statistics(options?: StatisticsOptions): Promise<StoreStatistics>;
  /** What happens from now on, and first what opening found of logs that were not closed. Ends when the store is closed. */
  events(options?: EventOptions): AsyncIterable<StoreEvent>;
  /**
   * Serves the store's disks over NBD: every live disk to read and write, every disk of a restore point to read, also while its
   * copy runs, and `scratch:POINT/DISK`, a clone to write that goes with its last client. docs/nbd.md has the names.
   *
   * Bytes do not pass the JavaScript thread. A socket file that is left of a process which is gone is replaced. Errors:
   * `ARGUMENT_INVALID`, `TARGET_EXISTS` where somebody listens or another file is, `PERMISSION_DENIED`, `IO_FAILED`.
   */
  serveNbd(options: NbdOptions): Promise<NbdServer>;
  /**
   * Waits for running calls, stops the background copies, which go on at the next open, then closes everything and gives
   * up the lock. May be called more than once.
   */
  close(): Promise<void>;
}
