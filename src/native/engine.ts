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
  /** How far the call is. `totalBytes` may grow while it runs, and become less where a disk turns out to have holes. */
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
  readonly compression: 'zstd' | 'lz4' | 'none';
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

/** What one point takes. */
export interface PointStatistics {
  readonly pointId: string;
  /** Sizes of its disks. */
  readonly logicalBytes: number;
  /** What of that is neither hole nor a chunk of one value. */
  readonly dataBytes: number;
  /** Plain bytes of the chunks that only this point needs. */
  readonly uniqueBytes: number;
  /** What only this point needs, in packs: deleting it and collecting everything frees that. */
  readonly freedBytes: number;
}

/** What the points of one machine take together. */
export interface MachineStatistics {
  readonly pointCount: number;
  readonly logicalBytes: number;
  readonly dataBytes: number;
  /** Plain bytes of the different chunks that its points hold. */
  readonly distinctBytes: number;
  /** What all that its points need takes in packs, shared with other machines or not. */
  readonly storedBytes: number;
  /** Plain bytes of the chunks that only this machine needs. */
  readonly uniqueBytes: number;
  /** What only this machine needs, in packs. */
  readonly freedBytes: number;
}

/** What all points take. */
export interface Statistics {
  readonly points: readonly PointStatistics[];
  /** In the order asked for; behind them the points of no machine together. */
  readonly machines: readonly MachineStatistics[];
  readonly logicalBytes: number;
  readonly dataBytes: number;
  readonly distinctBytes: number;
  readonly storedBytes: number;
  /** What takes space in packs and no point needs. */
  readonly garbageBytes: number;
  /** Different chunks and map nodes that points need. */
  readonly chunkCount: number;
  readonly nodeCount: number;
  /** How many of them no pack holds. */
  readonly missingCount: number;
}

/** A disk whose live data the store holds, as the newest superblock that names it says. */
export interface LiveDisk {
  readonly diskId: string;
  /** Null: detached. The disk then has a log of its own. */
  readonly machineId: string | null;
  readonly name: string;
  /** Unique in its machine; what a detached disk was or will be. */
  readonly role: string;
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /** Counts attachments and detachments; the highest names the log that has the disk. */
  readonly generation: number;
}

/** A log that was not closed: what opening it had to drop, because a power cut could have taken it back. */
export interface UncleanLog {
  readonly logId: string;
  /** Null for the log of a detached disk. */
  readonly machineId: string | null;
  /** The last LSN that survived; decimal digits, as LSNs outgrow safe integers. */
  readonly durableLsn: string;
  readonly droppedRecords: number;
  readonly droppedBytes: number;
  /** When the last record was made that survived; null when there is none. */
  readonly lastTimeMs: number | null;
}

/** A log that could not be opened when the store was, or when it was tried again. */
export interface UnavailableLog {
  /** Its machine's id, or its detached disk's. */
  readonly logId: string;
  /** Its disks; empty where its superblock cannot be read. */
  readonly diskIds: readonly string[];
  /** What opening it failed with. `LOG_DAMAGED`: trying again does not help. */
  readonly code: string;
  readonly message: string;
}

/** A cut whose point has no manifest yet, or whose layer is not released yet. */
export interface PendingCut {
  readonly pointId: string;
  readonly machineId: string;
  readonly collection: string;
  /** Empty for a hidden point. */
  readonly name: string;
  readonly lsn: string;
  readonly timeMs: number;
  readonly disks: readonly ManifestDisk[];
  /** The text that the cut was made with. */
  readonly detail: string;
  /** A disk of another log stands on it, by the point's id. */
  readonly pinned: boolean;
}

export interface CutRequest {
  readonly machineId: string;
  readonly pointId: string;
  /** Names, so that a lost catalog can be rebuilt; at most 80 characters each. */
  readonly collection: string;
  /** Empty for a hidden point. */
  readonly name: string;
  /** Kept in the record as it is, at most 64 KiB in UTF-8. */
  readonly detail: string;
}

/** A moment between two points. A time means the last record that is not after it. */
export type Moment = { readonly lsn: string } | { readonly timeMs: number };

/** What a live disk may have in a second: requests, and bytes read and written; each at least 1, null is no limit. */
export interface DiskLimits {
  readonly operationsPerSecond: number | null;
  readonly bytesPerSecond: number | null;
}

/** A cut that was appended: from here on writers may go on, and the point can be read, diffed, restored and cloned. */
export interface Cut {
  readonly lsn: string;
  /** Time of the cut's record; for a moment in the window, of the last record that it holds. */
  readonly timeMs: number;
  readonly disks: readonly ManifestDisk[];
  /**
   * Resolves once the log is durable past the cut, which may go on since the cut was made. Rejects with `LOG_FENCED` when
   * it cannot become so.
   */
  durable(): Promise<void>;
}

export interface CopyRequest {
  readonly pointId: string;
  readonly createdMs: number;
  /** The detail of the manifest. */
  readonly detail: string;
  /** The disks of the manifest, in their order, which is that of the detail. */
  readonly diskIds: readonly string[];
  /** The other disks of the cut, which the manifest leaves out; their layers are folded all the same. */
  readonly excludedDiskIds: readonly string[];
}

/** One operation of a batch on a live disk. Buffers are the caller's: `write` takes the bytes as they are at the call. */
export type DiskOperation =
  | { readonly kind: 'read'; readonly offset: number; readonly buffer: Uint8Array }
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array; readonly fua?: boolean | undefined }
  | { readonly kind: 'zero' | 'trim'; readonly offset: number; readonly length: number }
  | { readonly kind: 'flush' };

/** How far writers are ahead of the background copies. */
export interface LivePressure {
  /** What folding everything logged may take in packs, over all logs. A write needs it to fit beside the reserve. */
  readonly debtBytes: number;
  /** What writes may still take. */
  readonly availableBytes: number;
  /** Segments of all logs. */
  readonly logBytes: number;
  /** The layers of the log that has most. */
  readonly layers: number;
}

/**
 * The live disks of a store: one write log for each machine, and one for each detached disk (DESIGN section 3).
 *
 * Errors of all calls that change something: `LOG_FENCED`, `LOG_DAMAGED`, `LOG_UNAVAILABLE`, `NO_SPACE`,
 * `STORE_READ_ONLY`. One machine's failed log touches no other. A store that is open for reading only has no live disks.
 */
export interface LiveEngine {
  /** All live disks as the logs' superblocks say: the truth, by which the catalog is corrected when it is opened. */
  liveDisks(): readonly LiveDisk[];
  /** What opening the logs dropped. */
  unclean(): readonly UncleanLog[];
  /** The logs that could not be opened. What is in them answers `LOG_UNAVAILABLE`, or `LOG_DAMAGED`. */
  unavailableLogs(): readonly UnavailableLog[];
  /** The logs that take no more writes because writing failed, with `LOG_FENCED`. They can be read. */
  fencedLogs(): readonly UnavailableLog[];
  /**
   * Tries again to open those that could not be opened, and opens those anew that are fenced: NBD clients of their disks have to
   * connect again. Those with which that fails stay as they are.
   */
  reopenLogs(): Promise<void>;
  /** The cuts that wait for their copy or its release, in the order of their LSNs in each log. */
  pendingCuts(): readonly PendingCut[];
  /** A new detached disk, durable: of zeros, or with the content of a point's disk, at once, also while that is copied. */
  createDisk(request: {
    readonly diskId: string;
    readonly name: string;
    readonly role: string;
    readonly sizeBytes: number;
    readonly sectorBytes: number;
    readonly from: DiskReference | null;
  }): Promise<void>;
  /** A new detached disk with the content of an image, which must be still as for a scan. */
  importDisk(
    request: {
      readonly diskId: string;
      readonly name: string;
      readonly role: string;
      readonly path: string;
      readonly sectorBytes: number;
    },
    control?: Control,
  ): Promise<Omit<ScannedDisk, 'diskId' | 'chunks'>>;
  /** An empty log for a machine, durable. */
  createMachineLog(machineId: string): Promise<void>;
  /** Removes a machine's log, which has no disks and no cuts. Resolves too when there is none. */
  deleteMachineLog(machineId: string): Promise<void>;
  /** Moves a detached disk into a machine's log. The superblock of that log is the commit; the generation grows. */
  attachDisk(diskId: string, machineId: string, role: string): Promise<void>;
  /** Moves a disk into a log of its own. */
  detachDisk(diskId: string): Promise<void>;
  /** Removes a detached disk with its log. Resolves too when there is none. */
  deleteDisk(diskId: string): Promise<void>;
  /** Makes a disk larger; the new bytes are zero. */
  growDisk(diskId: string, sizeBytes: number): Promise<void>;
  /**
   * Fills the buffer. Sees every write that was acknowledged before the call.
   *
   * The signal of this and the next calls takes a request back that has not begun: it rejects with `CANCELLED`, and has no
   * effect. One that has begun runs to its end.
   */
  readDisk(diskId: string, offset: number, buffer: Uint8Array, signal?: AbortSignal): Promise<void>;
  /**
   * Writes bytes as they are at the call, and resolves with the LSN once the record and all before it are in the log;
   * with `fua` once they are durable.
   */
  writeDisk(diskId: string, offset: number, bytes: Uint8Array, fua: boolean, signal?: AbortSignal): Promise<string>;
  /** Zeros, kept allocated, or with `trim` given up. */
  zeroDisk(
    diskId: string,
    offset: number,
    length: number,
    options: { readonly trim: boolean; readonly fua: boolean },
    signal?: AbortSignal,
  ): Promise<string>;
  /** Makes everything durable that was acknowledged before the call, for all disks of the log. */
  flushDisk(diskId: string, signal?: AbortSignal): Promise<void>;
  /** Submits all operations in their order, and resolves when all are done. One that fails fails the call. */
  batchDisk(diskId: string, operations: readonly DiskOperation[], signal?: AbortSignal): Promise<void>;
  /**
   * Appends a cut: the consistent state of all disks of the machine at one LSN.
   *
   * Holds: when it resolves the cut is in the log, survives the end of the process, and the point can be read.
   * Errors: `LAYERS_FULL` while too many older cuts wait for their copies.
   */
  cut(request: CutRequest): Promise<Cut>;
  /**
   * The first part of a copy: maps of the cut's disks, durable, without a manifest. Tells what that took, so that the
   * manifest can say so; `copy` finds the maps made, and makes them where this was not called. Empty when there is a
   * manifest and no cut. Cancelling as of `copy`.
   */
  foldCut(
    pointId: string,
    diskIds: readonly string[],
    control?: Control,
  ): Promise<{ readonly disks: readonly ScannedDisk[] }>;
  /**
   * Copies a cut in the background: older layers first, then this one, then the manifest, which is the commit.
   *
   * One copy of a machine runs at a time. A cancelled copy keeps what it did and goes on from there when it is called
   * again. When the manifest is there already the call resolves too. What stands on the point by its id then stands on
   * its roots.
   */
  copy(request: CopyRequest, control?: Control): Promise<{ readonly disks: readonly ScannedDisk[] }>;
  /** Gives up the layer of a cut whose point has a manifest: the disks stand on its roots. Resolves too without a cut. */
  releaseCut(pointId: string): Promise<void>;
  /**
   * Ends a cut that has no point any more: its layer is folded into bases only. Resolves too when there is none.
   *
   * A cut that a disk of another log stands on is first copied to its roots, without a manifest, which takes as long as
   * a copy; a cancelled call goes on from there when it is called again.
   */
  dropCut(pointId: string, control?: Control): Promise<void>;
  /** Gives disks of one machine the content and size of disks of points, as one record: all or none, at once. */
  resetDisks(
    machineId: string,
    disks: readonly { readonly diskId: string; readonly from: DiskReference }[],
  ): Promise<{ readonly lsn: string }>;
  /**
   * A cut at a moment that the log still holds: a hidden point with the disks, sizes and resets of that moment.
   *
   * Errors: `MOMENT_NOT_KEPT`.
   */
  pointInTime(request: CutRequest & { readonly at: Moment }): Promise<Cut>;
  /**
   * Gives a live disk rates, from now on until they are changed or the store is closed; null: as much as goes. Requests wait
   * before they have any effect, and nobody waits with them. The rates go with the disk where it is moved.
   *
   * Errors: `DISK_NOT_FOUND`, `ARGUMENT_INVALID`.
   */
  limitDisk(diskId: string, limits: DiskLimits): Promise<void>;
  /** Has all requests begin that wait for the rates of their disks; rates count no more. For a store that is being closed. */
  liftLimits(): void;
  /** How far writers are ahead; cheap, to be polled. */
  livePressure(): LivePressure;
}

/** Where NBD clients connect: a socket of this machine, whose name begins with a zero where it is no file, or of the network. */
export type NbdAddress = { readonly path: string } | { readonly host: string; readonly port: number };

/** Where a server is to listen; port 0: any that is free. A descriptor is of a socket that listens already, and given away. */
export type NbdListen = NbdAddress | { readonly fd: number };

/** How an NBD server encrypts. */
export type NbdTls = NbdCertificate | NbdKeys;

/** Keys that the server and its clients know, by the names of users. */
export interface NbdKeys {
  readonly preSharedKeys: ReadonlyMap<string, Uint8Array>;
}

/** What an NBD server proves itself with, as PEM texts. */
export interface NbdCertificate {
  /** The certificate and those between it and an authority that clients know. */
  readonly certificate: string;
  readonly key: string;
  /** Where they are given, clients must have a certificate of one of them. */
  readonly clientAuthorities?: string;
}

/** An export in a list. */
export interface NbdListed {
  readonly name: string;
  /** For people. */
  readonly description: string;
}

/** What an export's name stands for: a live disk, or with a point that point's disk. */
export interface NbdExport extends NbdListed {
  /** Comes back once, when nobody has this export open any more. */
  readonly token: number;
  readonly diskId: string;
  readonly pointId: string | null;
  /** Of a point: the other points of the disk since which changes can be told, by name; clients are told of some. */
  readonly bitmaps: readonly { readonly name: string; readonly pointId: string; readonly isListed: boolean }[];
}

/** Who knows the exports of an NBD server. Asked at every handshake, so that they are what the store is then. */
export interface NbdExports {
  list(): Promise<readonly NbdListed[]>;
  /** Null where nothing has that name. The empty name asks for a default. */
  open(name: string): Promise<NbdExport | null>;
  closed(token: number): void;
}

export interface NbdRequest {
  readonly listen: readonly NbdListen[];
  /** Clients at once at each address. */
  readonly clientsMax: number;
  readonly tls: NbdTls | null;
  /** Also clients of other machines need not encrypt; else TLS is forced on addresses that they reach. */
  readonly allowPlain: boolean;
}

/** A running NBD server. */
export interface NbdServing {
  /** Where it listens, in the order of the request. */
  readonly addresses: readonly NbdAddress[];
  /** Clients now, and how many were hung up on because there were too many. */
  statistics(): { readonly clients: number; readonly refused: number };
  /** Ends all clients. Resolves when nothing of theirs is under way. */
  stop(): Promise<void>;
}

/** Runs work with the store's reserve of space at its disposal; see `Engine.withReserve`. */
export type WithReserve = <T>(work: () => Promise<T>) => Promise<T>;

/** An open store as the engine sees it. `read`, `diff` and `restore` take the points of pending cuts too. */
export interface Engine extends LiveEngine {
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
  /** Counts what the points need, told apart by machines, of which each is given by the ids of its points. */
  statistics(machines: readonly (readonly string[])[], control?: Control): Promise<Statistics>;
  /**
   * Runs work with the store's reserve at its disposal, if space is short: for what frees more space than it needs, and for
   * changes of the catalog that must not fail. The reserve is taken again when nobody needs it any more. While it is lent,
   * scans and publications reject with `NO_SPACE`. May be nested; without effect in a store open for reading only.
   */
  withReserve: WithReserve;
  /**
   * Serves disks over NBD, on the engine's own threads, until it is stopped, which must come before `close`.
   *
   * Errors: `ARGUMENT_INVALID` for a certificate that is none, or is missing where TLS is forced; `PERMISSION_DENIED`,
   * `IO_FAILED` where an address cannot be listened at; then nothing is.
   */
  serveNbd(request: NbdRequest, exports: NbdExports): Promise<NbdServing>;
  /** Waits for running calls, then releases the lock. Calls after it reject with `STORE_CLOSED`. */
  close(): Promise<void>;
}

export interface CreateRequest {
  readonly path: string;
  readonly chunkBytes: number;
  readonly compression: 'zstd' | 'lz4' | 'none';
  readonly compressionLevel: number;
}

export interface OpenRequest {
  readonly path: string;
  readonly readOnly: boolean;
  /** Threads for scans, restores and verification. */
  readonly threads: number;
  /** Bytes of chunks that background copies put together a second at most; null: no limit. */
  readonly copyBytesPerSecond: number | null;
  /** Memory for decoded chunks; null: as much as the engine takes by itself. */
  readonly chunkCacheBytes: number | null;
}

/** How engines are made and opened. */
export interface EngineFactory {
  create(request: CreateRequest): Promise<void>;
  open(request: OpenRequest): Promise<Engine>;
}
