/**
 * The boundary, TypeScript half: the engine interface over the native addon.
 *
 * The only file that imports the generated loader. It turns failure records into `StillpointError`, packed arrays
 * into extents, and `AbortSignal` and `onProgress` into a polled operation; it decides nothing.
 */

import addon from './generated/binding.cjs';
import type {
  CodeRecord,
  Failure,
  FaultRecord,
  LimitsRecord,
  NbdAddressRecord,
  NativeDiff,
  NativeEngine,
  NativeScan,
  NativeWorld,
} from './generated/binding.cjs';
import type {
  CollectReport,
  CollectRequest,
  Control,
  CopyRequest,
  CreateRequest,
  Cut,
  CutRequest,
  DiffCursor,
  DiskLimits,
  DiskOperation,
  DiskReference,
  Engine,
  EngineFactory,
  Extent,
  Finding,
  LiveDisk,
  LivePressure,
  Manifest,
  Moment,
  NbdAddress,
  NbdExports,
  NbdRequest,
  NbdServing,
  OpenRequest,
  PendingCut,
  RestoreReport,
  RestoreRequest,
  Scan,
  ScanDiskRequest,
  ScannedDisk,
  Statistics,
  StoreInfo,
  UnavailableLog,
  UncleanLog,
  Usage,
  VerifyReport,
} from './engine.js';
import { errorFromFailure } from './failure.js';
import { follow } from './follow.js';
import { DiskRequests } from './live.js';
import { answerQuestions } from './nbd.js';
import type { RelayThread } from './relay-thread.js';

/** The engine in Rust. */
export const nativeEngine: EngineFactory = {
  async create(request: CreateRequest): Promise<void> {
    const { path, chunkBytes, compression, compressionLevel } = request;
    unwrap(await addon.createStore(path, chunkBytes, compression, compressionLevel));
  },

  async open(request: OpenRequest): Promise<Engine> {
    const { path, readOnly, threads, copyBytesPerSecond, chunkCacheBytes } = request;
    const handle = unwrap(await addon.openStore(path, readOnly, threads, copyBytesPerSecond ?? 0, chunkCacheBytes));
    return new BoundEngine(handle, readOnly);
  },
};

/** Every code that the engine can give, with its kind. */
export function engineErrorCodes(): readonly CodeRecord[] {
  return addon.errorCodes();
}

/** The engine's limits, their single source. */
export function engineLimits(): LimitsRecord {
  return addon.engineLimits();
}

/** The native half of a simulated world; `src/testing/world.ts` is its face. */
export function newNativeWorld(seed: number, nowMs: number): NativeWorld {
  return new addon.NativeWorld(seed, nowMs);
}

/** Engines in a simulated world: packs are closed at `packBytesTarget`, and each open meets the faults then planned. */
export function engineInWorld(
  world: NativeWorld,
  packBytesTarget: number,
  faults: () => readonly FaultRecord[],
): EngineFactory {
  return {
    async create({ path, chunkBytes, compression, compressionLevel }) {
      unwrap(await world.createStore(path, chunkBytes, compression, compressionLevel));
    },
    async open({ path, readOnly }) {
      const handle = unwrap(await world.openStore(path, readOnly, packBytesTarget, [...faults()]));
      return new BoundEngine(handle, readOnly);
    },
  };
}

/** The binding gives the name as any text. */
function compressionNamed(name: string): StoreInfo['compression'] {
  if (name === 'zstd' || name === 'lz4' || name === 'none') return name;
  throw new TypeError(`the engine has a codec '${name}' that is not known here`);
}

class BoundEngine implements Engine {
  readonly info: StoreInfo;
  readonly readOnly: boolean;
  readonly #native: NativeEngine;
  readonly #requests: DiskRequests<NativeEngine>;

  constructor(native: NativeEngine, readOnly: boolean) {
    const info = native.info();
    if (info === null) throw new TypeError('the engine was closed before it was used');
    this.info = { ...info, compression: compressionNamed(info.compression) };
    this.readOnly = readOnly;
    this.#native = native;
    this.#requests = new DiskRequests(native, (callback) => new addon.NativeDisks(callback));
  }

  get findings(): readonly Finding[] {
    return this.#native.findings();
  }

  async manifests(): Promise<readonly Manifest[]> {
    return unwrap(await this.#native.manifests());
  }

  async scan(disks: readonly ScanDiskRequest[], control?: Control): Promise<Scan> {
    const records = disks.map(({ parentPointId, ...disk }) =>
      parentPointId === null ? disk : { ...disk, parentPointId },
    );
    const scan = await follow(control, new addon.NativeOperation(), (operation) =>
      this.#native.scan(records, operation).then(unwrap),
    );
    return new BoundScan(scan);
  }

  async removePoint(pointId: string): Promise<void> {
    unwrap(await this.#native.removePoint(pointId));
  }

  async quarantinePoint(pointId: string): Promise<void> {
    unwrap(await this.#native.quarantinePoint(pointId));
  }

  async read(disk: DiskReference, offset: number, length: number): Promise<Uint8Array> {
    return unwrap(await this.#native.read(disk.pointId, disk.diskId, offset, length));
  }

  async diff(
    before: DiskReference,
    after: DiskReference,
    granularityBytes: number | null,
    control?: Control,
  ): Promise<DiffCursor> {
    const operation = new addon.NativeOperation();
    const { pointId, diskId } = before;
    const diff = unwrap(
      await this.#native.diff(pointId, diskId, after.pointId, after.diskId, granularityBytes ?? 0, operation),
    );
    return new BoundDiff(diff, control);
  }

  async restore(request: RestoreRequest, control?: Control): Promise<RestoreReport> {
    const { pointId, diskId, targetPath, overwrite, sync } = request;
    return follow(control, new addon.NativeOperation(), (operation) =>
      this.#native.restore(pointId, diskId, targetPath, overwrite, sync, operation).then(unwrap),
    );
  }

  async verify(options: { readonly readData: boolean }, control?: Control): Promise<VerifyReport> {
    return follow(control, new addon.NativeOperation(), (operation) =>
      this.#native.verify(options.readData, operation).then(unwrap),
    );
  }

  async collect({ dryRun, bytesPerSecond }: CollectRequest, control?: Control): Promise<CollectReport> {
    return follow(control, new addon.NativeOperation(), (operation) =>
      this.#native.collect(dryRun, bytesPerSecond ?? 0, operation).then(unwrap),
    );
  }

  async withReserve<T>(work: () => Promise<T>): Promise<T> {
    // Mostly there is space enough, and neither needs a thread.
    const loan = this.#native.borrowReserveAtOnce() ?? unwrap(await this.#native.borrowReserve());
    try {
      return await work();
    } finally {
      if (!loan.endAtOnce()) unwrap(await loan.end());
    }
  }

  async usage(): Promise<Usage> {
    return unwrap(await this.#native.usage());
  }

  async statistics(machines: readonly (readonly string[])[], control?: Control): Promise<Statistics> {
    const points = machines.map((ids) => [...ids]);
    return follow(control, new addon.NativeOperation(), (operation) =>
      this.#native.statistics(points, operation).then(unwrap),
    );
  }

  liveDisks(): readonly LiveDisk[] {
    return this.#native.liveDisks().map((disk) => ({ ...disk, machineId: disk.machineId ?? null }));
  }

  unclean(): readonly UncleanLog[] {
    const logs = this.#native.unclean();
    return logs.map((log) => ({ ...log, machineId: log.machineId ?? null, lastTimeMs: log.lastTimeMs ?? null }));
  }

  unavailableLogs(): readonly UnavailableLog[] {
    return this.#native.unavailableLogs();
  }

  fencedLogs(): readonly UnavailableLog[] {
    return this.#native.fencedLogs();
  }

  async reopenLogs(): Promise<void> {
    unwrap(await this.#native.reopenLogs());
  }

  pendingCuts(): readonly PendingCut[] {
    return this.#native.pendingCuts();
  }

  /** How long the last cut kept writers waiting, nanoseconds; for `bench/live` alone. */
  lastCutHeldNs(): number {
    return this.#native.lastCutHeldNs();
  }

  livePressure(): LivePressure {
    return this.#native.livePressure() ?? { debtBytes: 0, availableBytes: 0, logBytes: 0, layers: 0 };
  }

  async createDisk(request: NewDisk & { readonly sizeBytes: number; readonly from: DiskReference | null }) {
    const { diskId, name, role, sectorBytes, sizeBytes, from } = request;
    const disk = { diskId, name, role, sectorBytes };
    unwrap(await this.#native.createDisk(disk, sizeBytes, from?.pointId, from?.diskId));
  }

  async importDisk(request: NewDisk & { readonly path: string }, control?: Control) {
    const { diskId, name, role, sectorBytes, path } = request;
    return follow(control, new addon.NativeOperation(), (operation) =>
      this.#native.importDisk({ diskId, name, role, sectorBytes }, path, operation).then(unwrap),
    );
  }

  async createMachineLog(machineId: string): Promise<void> {
    unwrap(await this.#native.createMachineLog(machineId));
  }

  async deleteMachineLog(machineId: string): Promise<void> {
    unwrap(await this.#native.deleteMachineLog(machineId));
  }

  async attachDisk(diskId: string, machineId: string, role: string): Promise<void> {
    unwrap(await this.#native.attachDisk(diskId, machineId, role));
  }

  async detachDisk(diskId: string): Promise<void> {
    unwrap(await this.#native.detachDisk(diskId));
  }

  async deleteDisk(diskId: string): Promise<void> {
    unwrap(await this.#native.deleteDisk(diskId));
  }

  async growDisk(diskId: string, sizeBytes: number): Promise<void> {
    unwrap(await this.#native.growDisk(diskId, sizeBytes));
  }

  readDisk(diskId: string, offset: number, buffer: Uint8Array, signal?: AbortSignal): Promise<void> {
    return this.#requests.read(diskId, offset, buffer, signal);
  }

  writeDisk(diskId: string, offset: number, bytes: Uint8Array, fua: boolean, signal?: AbortSignal): Promise<string> {
    return this.#requests.write(diskId, offset, bytes, fua, signal);
  }

  zeroDisk(
    diskId: string,
    offset: number,
    length: number,
    options: { readonly trim: boolean; readonly fua: boolean },
    signal?: AbortSignal,
  ): Promise<string> {
    return this.#requests.zero(diskId, offset, length, options, signal);
  }

  flushDisk(diskId: string, signal?: AbortSignal): Promise<void> {
    return this.#requests.flush(diskId, signal);
  }

  batchDisk(diskId: string, operations: readonly DiskOperation[], signal?: AbortSignal): Promise<void> {
    return this.#requests.batch(diskId, operations, signal);
  }

  async cut({ machineId, pointId, collection, name, detail }: CutRequest): Promise<Cut> {
    const made = this.#native.cut(machineId, pointId, collection, name, detail);
    const { lsn, timeMs, disks } = unwrap(await made.cut);
    const durable = async (): Promise<void> => {
      unwrap(await made.durable);
    };
    return { lsn, timeMs, disks, durable };
  }

  async foldCut(pointId: string, diskIds: readonly string[], control?: Control) {
    return follow(control, new addon.NativeOperation(), async (operation) => ({
      disks: unwrap(await this.#native.foldCut(pointId, [...diskIds], operation)),
    }));
  }

  async copy(request: CopyRequest, control?: Control): Promise<{ readonly disks: readonly ScannedDisk[] }> {
    const { pointId, createdMs, detail, diskIds } = request;
    const disks = await follow(control, new addon.NativeOperation(), (operation) =>
      this.#native.copy(pointId, createdMs, detail, [...diskIds], operation).then(unwrap),
    );
    return { disks };
  }

  async releaseCut(pointId: string): Promise<void> {
    unwrap(await this.#native.releaseCut(pointId));
  }

  async dropCut(pointId: string, control?: Control): Promise<void> {
    await follow(control, new addon.NativeOperation(), (operation) =>
      this.#native.dropCut(pointId, operation).then(unwrap),
    );
  }

  async resetDisks(
    machineId: string,
    disks: readonly { readonly diskId: string; readonly from: DiskReference }[],
  ): Promise<{ readonly lsn: string }> {
    const lsn = await this.#native.resetDisks(
      machineId,
      disks.map((disk) => disk.diskId),
      disks.map((disk) => disk.from.pointId),
      disks.map((disk) => disk.from.diskId),
    );
    return { lsn: unwrap(lsn) };
  }

  async pointInTime(request: CutRequest & { readonly at: Moment }): Promise<Cut> {
    const { machineId, pointId, collection, name, detail, at } = request;
    const lsnAsked = 'lsn' in at ? at.lsn : null;
    const timeAsked = 'lsn' in at ? null : at.timeMs;
    const found = unwrap(
      await this.#native.pointInTime(machineId, pointId, collection, name, detail, lsnAsked, timeAsked),
    );
    const { lsn, timeMs, disks } = found;
    return { lsn, timeMs, disks, durable: () => Promise.resolve() };
  }

  async limitDisk(diskId: string, { operationsPerSecond, bytesPerSecond }: DiskLimits): Promise<void> {
    unwrap(await this.#native.limitDisk(diskId, operationsPerSecond, bytesPerSecond));
  }

  liftLimits(): void {
    this.#native.liftLimits();
    this.#requests.liftLimits();
  }

  async serveNbd({ listen, clientsMax, tls, allowPlain }: NbdRequest, exports: NbdExports): Promise<NbdServing> {
    const server = new addon.NativeNbdServer(this.#native, () => {
      answerQuestions(server, exports);
      relay?.take(server.takeRelayed());
    });
    let relay: RelayThread | null = null;
    const stop = async (): Promise<void> => {
      const stopped = await server.stop();
      await relay?.end();
      unwrap(stopped);
    };
    try {
      if (tls !== null && 'preSharedKeys' in tls) {
        const relays = await import('./relay-thread.js'); // few need it
        relay = new relays.RelayThread(tls.preSharedKeys);
        server.useRelay();
      } else if (tls !== null) {
        const refused = server.useTls(tls);
        if (refused !== null) throw errorFromFailure(refused);
      }
      const addresses: NbdAddress[] = [];
      for (const at of listen) addresses.push(nbdAddress(unwrap(await server.listen(at, clientsMax, allowPlain))));
      return { addresses, statistics: () => server.statistics(), stop };
    } catch (error) {
      await stop();
      throw error;
    }
  }

  async close(): Promise<void> {
    unwrap(await this.#native.close());
    this.#requests.close();
  }
}

function nbdAddress({ path, host, port }: NbdAddressRecord): NbdAddress {
  return path === undefined ? { host: host ?? '', port: port ?? 0 } : { path };
}

/** What every new disk has. */
interface NewDisk {
  readonly diskId: string;
  readonly name: string;
  readonly role: string;
  readonly sectorBytes: number;
}

class BoundScan implements Scan {
  readonly disks: readonly ScannedDisk[];
  readonly startedMs: number;
  readonly endedMs: number;
  readonly #native: NativeScan;

  constructor(native: NativeScan) {
    this.disks = native.takeDisks();
    this.startedMs = native.startedMs;
    this.endedMs = native.endedMs;
    this.#native = native;
  }

  async publish(manifest: {
    readonly pointId: string;
    readonly createdMs: number;
    readonly detail: string;
  }): Promise<void> {
    unwrap(await this.#native.publish(manifest.pointId, manifest.createdMs, manifest.detail));
  }

  abandon(): Promise<void> {
    this.#native.abandon();
    return Promise.resolve();
  }
}

class BoundDiff implements DiffCursor {
  readonly sizeBefore: number;
  readonly sizeAfter: number;
  readonly #native: NativeDiff;
  readonly #control: Control | undefined;

  constructor(native: NativeDiff, control: Control | undefined) {
    this.sizeBefore = native.sizeBefore;
    this.sizeAfter = native.sizeAfter;
    this.#native = native;
    this.#control = control;
  }

  async next(): Promise<readonly Extent[]> {
    const cancelling = {
      cancel: () => {
        this.#native.close();
      },
      doneBytes: 0,
      totalBytes: 0,
    };
    const packed = await follow(this.#control, cancelling, () => this.#native.next().then(unwrap));
    const last = packed.at(-3);
    if (last !== undefined) {
      this.#control?.onProgress?.({ doneBytes: last + (packed.at(-2) ?? 0), totalBytes: this.sizeAfter });
    }
    return unpackExtents(packed);
  }

  close(): void {
    this.#native.close();
  }
}

/** (offset, length, kind) triples; kind 0 is data, 1 zero. */
function unpackExtents(packed: Float64Array): Extent[] {
  const extents: Extent[] = [];
  for (let index = 0; index + 2 < packed.length; index += 3) {
    const [offset, length, kind] = packed.subarray(index, index + 3);
    if (offset === undefined || length === undefined) break;
    extents.push({ offset, length, kind: kind === 1 ? 'zero' : 'data' });
  }
  return extents;
}

function unwrap<T>(outcome: T | Failure): Exclude<T, Failure> {
  if (isFailure(outcome)) throw errorFromFailure(outcome);
  return outcome as Exclude<T, Failure>;
}

function isFailure(outcome: unknown): outcome is Failure {
  return typeof outcome === 'object' && outcome !== null && 'code' in outcome && 'kind' in outcome;
}

export type { FaultRecord, NativeWorld };
