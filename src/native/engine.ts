/**
 * What the control side needs of the engine, as an interface.
 *
 * `binding.ts` implements it over the native addon; tests implement it in memory. Every call that can take long is
 * asynchronous, runs on the engine's own threads and takes an `Operation`. No call carries chunk bytes, and the
 * engine never calls back.
 *
 * Units: offsets, lengths and sizes in bytes as safe integers; times in milliseconds since 1970-01-01 UTC; ids as 32
 * lower-case hexadecimal digits. Errors: `StillpointError`.
 */

/** A running call as its caller sees it: progress is polled, cancelling is a request. */
export interface Operation {
  /** How far the call is. `totalBytes` may grow while it runs. */
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** What every long call takes besides its request. */
export interface Control {
  /** Cancels the call: it rejects with `CANCELLED` and leaves the store as it was. */
  readonly signal?: AbortSignal;
  /** Told now and then how far the call is, at most ten times a second, and once at the end. */
  readonly onProgress?: (progress: Operation) => void;
}

export interface StoreInfo {
  readonly storeId: string;
  readonly formatVersion: number;
  readonly createdMs: number;
  readonly chunkBytes: number;
  readonly compression: 'zstd' | 'none';
  readonly compressionLevel: number;
}

/** Something that opening the store found and put right, or could not. */
export interface Finding {
  /** The file, relative to the store. */
  readonly file: string;
  /** Where in the file; null when the whole file is meant. */
  readonly offset: number | null;
  readonly length: number | null;
  /** Stable word for what is wrong, an error code. */
  readonly code: string;
  readonly message: string;
  /** The disk restore points that the damage hits; ranges are sorted and disjoint. */
  readonly hits: readonly Hit[];
}

export interface Hit {
  readonly pointId: string;
  readonly diskId: string;
  readonly ranges: readonly { readonly offset: number; readonly length: number }[];
}

/** A disk in a manifest. */
export interface ManifestDisk {
  readonly diskId: string;
  readonly sizeBytes: number;
  readonly sectorBytes: number;
}

/** A published restore point. */
export interface Manifest {
  readonly pointId: string;
  readonly createdMs: number;
  readonly disks: readonly ManifestDisk[];
  /** The detail of format.md section 7, as JSON text. */
  readonly detail: string;
}

export interface ScanDiskRequest {
  readonly diskId: string;
  readonly path: string;
  readonly sectorBytes: number;
  /** The point whose map of the same disk is compared with first; null for a first full. */
  readonly parentPointId: string | null;
  /** The caller vouches that a block device does not change. */
  readonly frozen: boolean;
}

export interface ScannedDisk {
  readonly diskId: string;
  readonly sizeBytes: number;
  /** Bytes read from the source (holes are not read). */
  readonly bytesRead: number;
  /** Plain bytes of chunks that no pack held. */
  readonly bytesNew: number;
  /** Bytes that the store grew by for this disk, frames with their headers. */
  readonly bytesStored: number;
  readonly chunks: {
    readonly hole: number;
    readonly fill: number;
    /** Equal to the parent's at the same place. */
    readonly unchanged: number;
    /** Changed, but known elsewhere in the store. */
    readonly known: number;
    readonly stored: number;
  };
}

/** A finished scan: everything durable but the manifest. One of `publish` and `abandon` ends it. */
export interface Scan {
  readonly disks: readonly ScannedDisk[];
  readonly startedMs: number;
  readonly endedMs: number;
  /** Writes the manifest; once it resolves, the point exists and survives a power cut. */
  publish(manifest: { readonly pointId: string; readonly createdMs: number; readonly detail: string }): Promise<void>;
  /** Forgets the scan; what it stored is garbage for the collector. */
  abandon(): Promise<void>;
}

export interface DiskReference {
  readonly pointId: string;
  readonly diskId: string;
}

/** One changed range. `zero`: reads as zero afterwards. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'data' | 'zero';
}

export interface DiffCursor {
  readonly sizeBefore: number;
  readonly sizeAfter: number;
  /** The next extents, in order; empty at the end. */
  next(): Promise<readonly Extent[]>;
  close(): void;
}

export interface RestoreRequest extends DiskReference {
  readonly targetPath: string;
  /** Write over an existing file or block device instead of making a new file. */
  readonly overwrite: boolean;
  /** Make the result durable before resolving. */
  readonly sync: boolean;
}

export interface RestoreReport {
  readonly sizeBytes: number;
  /** Bytes written as data; the rest is holes. */
  readonly bytesWritten: number;
}

export interface VerifyReport {
  readonly findings: readonly Finding[];
  readonly pointsChecked: number;
  readonly chunksChecked: number;
  readonly bytesRead: number;
}

export interface CollectRequest {
  /** Change nothing, only tell. */
  readonly dryRun: boolean;
  /** Bytes a second that live data is moved with at most; null: no limit. */
  readonly bytesPerSecond: number | null;
}

export interface CollectReport {
  readonly dryRun: boolean;
  readonly packsRemoved: number;
  readonly packsRewritten: number;
  readonly chunksRemoved: number;
  /** What the packs and the index take less than before; with `dryRun`, what they would. */
  readonly bytesFreed: number;
  readonly bytesRewritten: number;
}

export interface Usage {
  readonly packCount: number;
  readonly packBytes: number;
  readonly indexBytes: number;
  readonly manifestBytes: number;
  readonly chunkCount: number;
  readonly availableBytes: number;
}

/** Runs work with the store's reserve of space at its disposal; see `Engine.withReserve`. */
export type WithReserve = <T>(work: () => Promise<T>) => Promise<T>;

/** An open store as the engine sees it. */
export interface Engine {
  readonly info: StoreInfo;
  readonly readOnly: boolean;
  /** What opening found; empty for a sound store. */
  readonly findings: readonly Finding[];
  manifests(): Promise<readonly Manifest[]>;
  /** Scans all disks as one: they were all still from before the first byte to after the last. */
  scan(disks: readonly ScanDiskRequest[], control?: Control): Promise<Scan>;
  /** Removes a point's manifest, durably. Resolves too when there is none. */
  removePoint(pointId: string): Promise<void>;
  /** Puts a manifest that nobody can account for into quarantine. */
  quarantinePoint(pointId: string): Promise<void>;
  /** Bytes of a disk restore point; past the end is an error. */
  read(disk: DiskReference, offset: number, length: number): Promise<Uint8Array>;
  /** Granularity null: whole chunks, without reading any. Otherwise 512 to the chunk size, a power of two. */
  diff(
    before: DiskReference,
    after: DiskReference,
    granularityBytes: number | null,
    control?: Control,
  ): Promise<DiffCursor>;
  restore(request: RestoreRequest, control?: Control): Promise<RestoreReport>;
  verify(options: { readonly readData: boolean }, control?: Control): Promise<VerifyReport>;
  collect(request: CollectRequest, control?: Control): Promise<CollectReport>;
  usage(): Promise<Usage>;
  /**
   * Runs work with the store's reserve at its disposal, if space is short: for what frees more space than it needs, and for
   * changes of the catalog that must not fail. The reserve is taken again when nobody needs it any more. While it is lent,
   * scans and publications reject with `NO_SPACE`. May be nested; without effect in a store open for reading only.
   */
  withReserve: WithReserve;
  /** Waits for running calls, then releases the lock. Calls after it reject with `STORE_CLOSED`. */
  close(): Promise<void>;
}

export interface CreateRequest {
  readonly path: string;
  readonly chunkBytes: number;
  readonly compression: 'zstd' | 'none';
  readonly compressionLevel: number;
}

export interface OpenRequest {
  readonly path: string;
  readonly readOnly: boolean;
  /** Threads for scans, restores and verification. */
  readonly threads: number;
}

/** How engines are made and opened. */
export interface EngineFactory {
  create(request: CreateRequest): Promise<void>;
  open(request: OpenRequest): Promise<Engine>;
}
