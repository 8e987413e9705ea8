/** What callers get of managed disks: the handle, what it tells, and its options. */

import type { Readable, Writable } from 'node:stream';

import type { DiskLimits, DiskOperation } from '../native/engine.js';
import type { DiskId } from './units.js';

/**
 * Why a machine or disk takes no writes (`LOG_FENCED`: writing its log failed), or answers nothing but `LOG_UNAVAILABLE` (it could
 * not be opened). `store.reopenLogs` puts either right, once the reason is gone.
 */
export interface Unavailable {
  /** `LOG_FENCED`, or what opening the log failed with, such as `NO_SPACE` or `IO_FAILED`. */
  readonly code: string;
  readonly message: string;
}

/** A managed disk as it is now. */
export interface DiskInfo {
  readonly id: DiskId;
  /** Unique in the store. */
  readonly name: string;
  readonly kind: 'managed';
  /** Unique in its machine; of a detached disk, what it was or is to be. */
  readonly role: string;
  /** Name of the machine that it is attached to; null when it is detached. */
  readonly machine: string | null;
  readonly sizeBytes: number;
  /** Offsets and lengths of reads and writes are multiples of it. */
  readonly sectorBytes: number;
  /** Grows with each attachment and detachment. */
  readonly generation: number;
  readonly createdMs: number;
  /** What it may have a second. */
  readonly limits: DiskLimits;
  /** Only while its write log takes no writes, or could not be opened: then what is said of the disk is what the catalog knows. */
  readonly unavailable?: Unavailable;
}

/** What a disk may have a second; what is left out is not limited. */
export interface DiskLimitsRequest {
  /** Reads, writes, zeros and trims; 1 or more. */
  readonly operationsPerSecond?: number | null | undefined;
  /** Bytes read and written; 1 or more. */
  readonly bytesPerSecond?: number | null | undefined;
}

/** Options of `attach`. */
export interface AttachOptions {
  /** Its limits from then on. Default: those that it has. */
  readonly limits?: DiskLimitsRequest | undefined;
}

/** Options of reads, flushes and growing. */
export interface DiskCallOptions {
  /**
   * Cancels the call, which rejects with `CANCELLED` and has no effect, as long as the request has not begun: it may wait
   * for others of its disk, and for the disk's limits. What has begun runs to its end.
   */
  readonly signal?: AbortSignal | undefined;
}

/** Options of what changes a disk's content. */
export interface DiskWriteOptions extends DiskCallOptions {
  /** Resolve only when the change, and all before it, are durable. Default false: as a write to a volatile cache. */
  readonly fua?: boolean | undefined;
}

/** Options of `readStream`. */
export interface ReadStreamOptions extends DiskCallOptions {
  /** First byte. Default 0. */
  readonly start?: number | undefined;
  /** The byte behind the last. Default the disk's size now. */
  readonly end?: number | undefined;
}

/** Options of `writeStream`. */
export interface WriteStreamOptions extends DiskCallOptions {
  /** Where the first byte goes. Default 0. */
  readonly start?: number | undefined;
}

/**
 * A managed disk. The handle stays good while the disk is attached, detached, grown or reset; calls after its deletion
 * reject with `DISK_NOT_FOUND`.
 *
 * Ranges are multiples of the sector size and lie inside the disk, else `ARGUMENT_INVALID`; one call moves at most
 * 64 MiB. A length of 0 does nothing. Errors of all calls: `LOG_FENCED`, `LOG_DAMAGED`, `LOG_UNAVAILABLE`,
 * `STORE_CLOSED`, `STORE_READ_ONLY`; of writes also `NO_SPACE`.
 */
export interface Disk {
  readonly id: DiskId;
  readonly name: string;
  /** The disk as it is now. Errors: `DISK_NOT_FOUND`. */
  readonly info: DiskInfo;
  /** Bytes from an offset: so many, or as many as the buffer takes, into the buffer. */
  read(offset: number, lengthOrBuffer: number | Uint8Array, options?: DiskCallOptions): Promise<Uint8Array>;
  /**
   * Writes bytes as they are at the call. Resolves with the LSN, decimal digits.
   *
   * Holds: when it resolves, reads see it and the end of the process does not undo it. A power cut may, until a `flush`
   * that was called later resolves, or with `fua`; it then undoes everything younger too, on all disks of the machine.
   */
  write(offset: number, bytes: Uint8Array, options?: DiskWriteOptions): Promise<string>;
  /** Zeros that stay allocated. As `write`. */
  writeZeroes(offset: number, length: number, options?: DiskWriteOptions): Promise<string>;
  /** Gives up a range, which then reads as zero. As `write`. */
  trim(offset: number, length: number, options?: DiskWriteOptions): Promise<string>;
  /** Makes durable what was acknowledged before the call, on all disks of the machine. */
  flush(options?: DiskCallOptions): Promise<void>;
  /** Submits many operations in their order with one call, and resolves when all are done. */
  batch(operations: readonly DiskOperation[], options?: DiskCallOptions): Promise<void>;
  /** Makes the disk larger; the new bytes are zero. Errors: `ARGUMENT_INVALID`, `DISK_BUSY`. */
  grow(sizeBytes: number): Promise<DiskInfo>;
  /**
   * Attaches a detached disk to a managed machine. Default of the role: the one that the disk has.
   *
   * Errors: `DISK_ATTACHED`, `DISK_EXISTS` for a role that is taken, `DISK_BUSY`, `MACHINE_NOT_FOUND`, `MACHINE_NOT_MANAGED`.
   */
  attach(machine: string, role?: string, options?: AttachOptions): Promise<DiskInfo>;
  /**
   * Limits what the disk may have a second, for good, attached or not; requests that wait already follow.
   *
   * Reads and writes wait in their order before they have any effect, and no other disk with them. After standing still a
   * disk may have a tenth of a second's worth at once. Errors: `DISK_BUSY`.
   */
  setLimits(limits: DiskLimitsRequest): Promise<DiskInfo>;
  /** Detaches the disk; it keeps its content and can be read and written. Errors: `DISK_DETACHED`, `DISK_BUSY`. */
  detach(): Promise<DiskInfo>;
  /** Deletes a detached disk; points keep what they have of it. Errors: `DISK_ATTACHED`, `DISK_BUSY`. */
  delete(): Promise<void>;
  /** The disk's bytes as a stream, read piece by piece. */
  readStream(options?: ReadStreamOptions): Readable;
  /** Writes what comes into it, and flushes at its end. What comes must end at a sector. */
  writeStream(options?: WriteStreamOptions): Writable;
}
