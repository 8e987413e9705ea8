/** What callers pass: requests and options, each with unit, default and range. `plans.ts` checks them. */

import type { ImageFormat } from '../images/formats.js';
import type { Operation } from '../native/engine.js';
import type { DiskLimitsRequest } from './disk-handle.js';
import type { ConsistencyMode } from './units.js';

/** What every call that can take long takes besides its own options. */
export interface LongCallOptions {
  /** Cancels the call: it rejects with `CANCELLED` and leaves the store as it was. */
  readonly signal?: AbortSignal | undefined;
  /** Told how far the call is, at most ten times a second, and once at the end. */
  readonly onProgress?: ((progress: Operation) => void) | undefined;
}

/** Options of `createStore`. */
export interface CreateStoreOptions {
  /** Directory that is empty or does not exist; its parent exists. */
  readonly path: string;
  /** Chunk size in bytes: 16384, 65536, 262144 or 1048576. Default 65536. It can't be changed later. */
  readonly chunkBytes?: number | undefined;
  /**
   * Codec of new chunks. Default `zstd`. `lz4` takes about two thirds of its processor time and a third more space; it
   * makes no deltas.
   */
  readonly compression?: 'zstd' | 'lz4' | 'none' | undefined;
  /** Level of the codec, 1 to 19 for `zstd`. Default 2. The others have no levels: left out or 0. */
  readonly compressionLevel?: number | undefined;
}

/** Options of `openStore`. */
export interface OpenStoreOptions {
  /** The store's directory. */
  readonly path: string;
  /** Open without the lock, for looking and reading only. Default false. */
  readonly readOnly?: boolean | undefined;
  /** Threads of the engine, 1 to 256. Default: one for each core. */
  readonly threads?: number | undefined;
  /**
   * Bytes of chunks that all background copies together put together a second at most. Default: no limit.
   *
   * With or without it copies make room for requests of live disks, and take a quarter of the time beside constant ones. A
   * copy that is pressed keeps to neither: its machine's log is half as long as it may be, few layers are left, space is
   * short, or somebody waits for it.
   */
  readonly copyBytesPerSecond?: number | undefined;
  /**
   * Memory for decoded chunks that all readers of managed disks and NBD clients share, in bytes, 0 to 1 TiB. Default: 64 MiB.
   * Who reads at random from disks whose data is in the store's packs gains by more.
   */
  readonly chunkCacheBytes?: number | undefined;
}

/** An external disk of a machine: an image or device that someone else writes. */
export interface ExternalDiskRequest {
  /** Its role, unique in the machine. The disk is called `MACHINE-ROLE`. */
  readonly role: string;
  /** Path of the image file or block device. A relative one is resolved against the current directory now. */
  readonly external: string;
  /** Sector size in bytes: 512 or 4096. Default 512. The image's length is a multiple of it. */
  readonly sectorBytes?: number | undefined;
}

/** A managed disk of a machine: one that is there and detached, or a new one with the content of an image. */
export type ManagedDiskRequest =
  | {
      /** Its role, unique in the machine. */
      readonly role: string;
      /** Name of a detached disk. */
      readonly disk: string;
    }
  | {
      readonly role: string;
      /** Path of an image or block device, which is read once. The disk is called `MACHINE-ROLE`. */
      readonly import: string;
      /** As in `importDisk`. */
      readonly format?: ImageFormat | undefined;
      /** Sector size in bytes: 512 or 4096. Default 512. */
      readonly sectorBytes?: number | undefined;
    };

/** A disk of a machine. */
export type DiskRequest = ExternalDiskRequest | ManagedDiskRequest;

/** A machine to create. */
export interface CreateVirtualMachineRequest {
  readonly name: string;
  /**
   * 1 to 256 disks, all external or all managed; or names of detached disks by role. With an empty object the machine is
   * managed and has no disks yet.
   */
  readonly disks: readonly DiskRequest[] | Readonly<Record<string, string>>;
  /** Any JSON value of up to 1 MiB as text. Default null. */
  readonly configuration?: unknown;
  /** A GUID. Default the zero GUID. */
  readonly subscription?: string | undefined;
  /** A name. Default `default`. */
  readonly resourceGroup?: string | undefined;
}

/** A change of a machine; what is left out stays. Points keep what they had. */
export interface VirtualMachineChange {
  /** Replaces the configuration as a whole. */
  readonly configuration?: unknown;
  /** Disks to add. */
  readonly addDisks?: readonly ExternalDiskRequest[] | undefined;
  /** Roles of disks that the machine no longer has. They go before others are added, so a role can be given anew. */
  readonly removeDisks?: readonly string[] | undefined;
  /** New paths, by role. The disk stays the same disk. */
  readonly paths?: Readonly<Record<string, string>> | undefined;
}

/** Options of `capture`. */
export interface CaptureOptions extends LongCallOptions {
  /** The point's name. Default the UTC time, `2026-11-23T04-28-14Z`, with `-2`, `-3` ... where that is taken. */
  readonly name?: string | undefined;
  /** The collection, made when it is new. Default `default`. */
  readonly collection?: string | undefined;
  /** The mode to insist on. Left out: the highest that the machine can give. */
  readonly consistency?: ConsistencyMode | undefined;
  /** Roles of disks to leave out; not all of them. */
  readonly exclude?: readonly string[] | undefined;
  /** The caller vouches that block devices do not change. Default false. */
  readonly frozen?: boolean | undefined;
}

/** Options of `diff`. */
export interface DiffOptions extends LongCallOptions {
  /** Role of the disk in the later point. */
  readonly disk: string;
  /** Role of the disk in the earlier point. Default the same. */
  readonly diskBefore?: string | undefined;
  /**
   * Bytes that are compared as one: 512 to the chunk size, a power of two. Left out, whole chunks are compared by id,
   * which reads no data.
   */
  readonly granularity?: number | undefined;
}

/** Options of `read`. */
export interface ReadOptions {
  /** Role of the disk. */
  readonly disk: string;
  /** First byte. */
  readonly offset: number;
  /** Bytes to read; past the end of the disk is an error. */
  readonly length: number;
}

/** A moment between restore points: the last record not after a time, or not above an LSN (decimal digits). */
export type MomentOption = { readonly lsn: string } | { readonly timeMs: number };

/** What every restore takes. */
export interface SourceOptions {
  /** Restore what a machine's disks were at a moment that its write log still holds; a machine is then named, no point. */
  readonly at?: MomentOption | undefined;
}

/** Options of `restore`. */
export interface RestoreOptions extends LongCallOptions, SourceOptions {
  /** Role of the disk. */
  readonly disk: string;
  /** Path of the target. */
  readonly to: string;
  /** What to make; other formats than `raw` need qemu-img, and replace an existing file whole. Default `raw`. */
  readonly format?: ImageFormat | undefined;
  /** Write over an existing file or block device, in place. Default false: a new file. */
  readonly overwrite?: boolean | undefined;
  /** Make the result durable before resolving. Default true. */
  readonly sync?: boolean | undefined;
}

/** Options of `restoreDisks`. */
export interface RestoreDisksOptions extends LongCallOptions, SourceOptions {
  /** Directory in which `ROLE.FORMAT` is made for each disk. It is made if it does not exist. */
  readonly directory: string;
  /** Roles of the disks. Default: every disk that the point has. */
  readonly disks?: readonly string[] | undefined;
  /** What to make, as of `restore`. Default `raw`. */
  readonly format?: ImageFormat | undefined;
  /** Write over files that exist, in place. Default false: with any of them there, nothing is done. */
  readonly overwrite?: boolean | undefined;
  /** Make the result durable before resolving. Default true. */
  readonly sync?: boolean | undefined;
}

/** Options of `verify`. */
export interface VerifyOptions extends LongCallOptions {
  /** Read and check every chunk, not only what leads to them. Default false. */
  readonly readData?: boolean | undefined;
}

/** Options of `collect`. */
export interface CollectOptions extends LongCallOptions {
  /** Only tell what would be given back. Default false. */
  readonly dryRun?: boolean | undefined;
  /** Bytes a second that live data is moved with at most, on average; 1 or more. Default: no limit. */
  readonly bytesPerSecond?: number | undefined;
}

/** Options of `statistics`. */
export interface StatisticsOptions extends LongCallOptions {
  /** Name of the machine to tell of. Default: all. */
  readonly machine?: string | undefined;
}

/** A disk to create. */
export interface CreateDiskRequest {
  /** Unique in the store. */
  readonly name: string;
  /** A multiple of the sector size. Nothing is allocated. */
  readonly sizeBytes: number;
  /** Sector size in bytes: 512 or 4096. Default 512. */
  readonly sectorBytes?: number | undefined;
  /** What it may have a second. Default: no limits. */
  readonly limits?: DiskLimitsRequest | undefined;
}

/** A disk to import. */
export interface ImportDiskRequest extends LongCallOptions {
  /** Unique in the store. */
  readonly name: string;
  /** Path of an image or block device, which must not change while it is read. */
  readonly path: string;
  /**
   * What it is; other formats than `raw` need qemu-img. Default: a file what its first bytes say, a device `raw`. Whoever can
   * write to a raw image chooses its first bytes, so name `raw` where that is somebody else.
   */
  readonly format?: ImageFormat | undefined;
  /** Sector size in bytes: 512 or 4096. Default 512. */
  readonly sectorBytes?: number | undefined;
}

/** Options of `restoreToDisk`. */
export interface RestoreToDiskOptions extends SourceOptions {
  /** Role of the disk. */
  readonly disk: string;
  /** Name of the new disk. */
  readonly name: string;
}

/** Options of `restoreInPlace`. */
export interface RestoreInPlaceOptions extends SourceOptions {
  /** Roles of the disks. Default all; then the point's disks must be exactly those that the machine has now. */
  readonly disks?: readonly string[] | undefined;
}

/** Options of `restoreToMachine`. */
export interface RestoreToMachineOptions extends SourceOptions {
  /** Name of the new machine. Its disks are called `NAME-ROLE`. */
  readonly name: string;
  /** A GUID. Default the zero GUID. */
  readonly subscription?: string | undefined;
  /** A name. Default `default`. */
  readonly resourceGroup?: string | undefined;
}
