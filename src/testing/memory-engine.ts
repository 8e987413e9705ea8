/**
 * An engine in memory: every point keeps whole copies of its disks. Slow, large and obviously right.
 *
 * The control side's tests stand on it, and so can an embedder's: the factory keeps the stores, so one can be closed,
 * crashed and opened again. Sources are buffers that a test registers, or files that are read whole.
 *
 * What it does not do: look whether a source was still, use threads, compress, serve NBD, or keep anything after the process.
 */

import { readFile } from 'node:fs/promises';
import path from 'node:path';

import type {
  CollectReport,
  Control,
  CreateRequest,
  DiffCursor,
  DiskReference,
  Engine,
  EngineFactory,
  Finding,
  LivePressure,
  Manifest,
  NbdServing,
  OpenRequest,
  RestoreReport,
  RestoreRequest,
  Scan,
  ScanDiskRequest,
  ScannedDisk,
  Statistics,
  StoreInfo,
  Usage,
  VerifyReport,
} from '../native/engine.js';
import { systemClock, type Clock } from '../store/clock.js';
import { StillpointError, type ErrorCode } from '../store/errors.js';
import { newId, type Random } from '../store/random.js';
import { extentsBetween } from './memory-diff.js';
import { MemoryLive, scannedDisk, type LiveStep } from './memory-live.js';
import { MemoryLogs, withoutEntry } from './memory-logs.js';
import { statisticsOf } from './memory-statistics.js';
import { writeNew, writeOver } from './memory-target.js';
import { seededRandom } from './random.js';

/** The steps that a test can stop at. `before` steps have had no effect yet, `after` steps have had all of it. */
export type EngineStep =
  | 'scan-before'
  | 'scan-after'
  | 'publish-before'
  | 'publish-after'
  | 'abandon'
  | 'remove-before'
  | 'remove-after'
  | 'quarantine'
  | 'read'
  | 'restore'
  | 'diff'
  | 'diff-page'
  | 'verify'
  | 'collect'
  | 'statistics'
  | LiveStep;

/** What a memory engine is made with. */
export interface MemoryEngineOptions {
  readonly clock?: Clock;
  readonly random?: Random;
  /** Called at every step; what it throws, the call rejects with, and what it waits for, the call waits for. */
  readonly onStep?: (step: EngineStep) => void | Promise<void>;
}

/** Makes and opens stores in memory, and does to them what a test needs. */
export interface MemoryEngineFactory extends EngineFactory {
  /** Registers or replaces a source; scans find it before any file of that path. */
  setSource(path: string, bytes: Uint8Array): void;
  removeSource(path: string): void;
  /** Ids of the points whose manifests are in place. */
  pointIds(storePath: string): string[];
  /** Ids of the points whose manifests were put into quarantine. */
  quarantinedIds(storePath: string): string[];
  /** The parent of each disk in the newest scan, by disk id. */
  parentsOfLastScan(storePath: string): ReadonlyMap<string, string | null>;
  /** Takes a manifest away, as if its file were lost, and gives what brings it back. */
  loseManifest(storePath: string, pointId: string): () => void;
  /** Makes a manifest unreadable, as if its file were damaged. */
  damageManifest(storePath: string, pointId: string): void;
  /** Ids of the points whose cuts are neither released nor dropped. */
  cutIds(storePath: string): string[];
  /** Makes a cut of a machine that nobody asked for; a detached disk may stand on it by its id. */
  addCut(storePath: string, pointId: string, machineId: string, standingDiskId?: string): void;
  /** Takes a cut away, as if its log were lost. */
  loseCut(storePath: string, pointId: string): void;
  /** Tells this of every store's logs from now on; null: what is so. */
  setPressure(pressure: LivePressure | null): void;
  /** Takes a live disk away, as if its log were lost. */
  loseDisk(storePath: string, diskId: string): void;
  /** Lets a log, named by its machine's or detached disk's id, fail to open from the next opening on; null: no longer. */
  failLog(storePath: string, logId: string, code: ErrorCode | null): void;
  /** Fences a log, as a sync that fails does. */
  fenceLog(storePath: string, logId: string): void;
  /** Forgets who has the stores open, as the end of a process does; a power cut also takes what logs had not synced. */
  crash(how?: 'processKilled' | 'powerCut'): void;
}

interface StoredPoint {
  readonly manifest: Manifest;
  readonly disks: ReadonlyMap<string, Uint8Array>;
}

interface StoredStore {
  readonly info: StoreInfo;
  readonly points: Map<string, StoredPoint>;
  readonly damaged: Map<string, StoredPoint>;
  readonly quarantined: Set<string>;
  readonly logs: MemoryLogs;
  /** Bytes that the packs would take: of every scan until it is collected. */
  packBytes: number;
  parents: ReadonlyMap<string, string | null>;
  isLocked: boolean;
}

interface World {
  readonly stores: Map<string, StoredStore>;
  readonly sources: Map<string, Uint8Array>;
  readonly clock: Clock;
  readonly step: (step: EngineStep) => Promise<void>;
  /** Counts crashes: an engine of an earlier life does nothing any more. */
  life: number;
}

/** A factory of engines in memory. */
export function memoryEngine(options: MemoryEngineOptions = {}): MemoryEngineFactory {
  const random = options.random ?? seededRandom(1);
  const world: World = {
    stores: new Map(),
    sources: new Map(),
    clock: options.clock ?? systemClock,
    step: async (step) => options.onStep?.(step),
    life: 0,
  };
  const storeAt = (storePath: string): StoredStore => {
    const store = world.stores.get(path.resolve(storePath));
    if (store === undefined)
      throw new StillpointError('STORE_NOT_FOUND', `there is no store at ${storePath}`, { path: storePath });
    return store;
  };
  return {
    create: async (request) => create(world, request, newId(random)),
    open: async (request) => openEngine(world, storeAt(request.path), request),
    setSource: (source, bytes) => {
      world.sources.set(path.resolve(source), bytes.slice());
    },
    removeSource: (source) => {
      world.sources.delete(path.resolve(source));
    },
    pointIds: (storePath) => [...storeAt(storePath).points.keys()],
    quarantinedIds: (storePath) => [...storeAt(storePath).quarantined],
    parentsOfLastScan: (storePath) => storeAt(storePath).parents,
    loseManifest: (storePath, pointId) => {
      const { points } = storeAt(storePath);
      const point = pointIn(points, pointId);
      points.delete(pointId);
      return () => points.set(pointId, point);
    },
    damageManifest: (storePath, pointId) => {
      const { points, damaged } = storeAt(storePath);
      damaged.set(pointId, pointIn(points, pointId));
      points.delete(pointId);
    },
    cutIds: (storePath) => [...storeAt(storePath).logs.logs.values()].flatMap((log) => [...log.cuts.keys()]),
    addCut: (storePath, pointId, machineId, standingDiskId) => {
      const { logs } = storeAt(storePath);
      logs.addCut({ pointId, machineId, collection: 'default', name: '', detail: '' }, standingDiskId ?? null);
    },
    loseCut: (storePath, pointId) => {
      const found = storeAt(storePath).logs.cut(pointId);
      found?.log.commit(world.clock.nowMs(), { cuts: withoutEntry(found.log.current.cuts, pointId) });
    },
    setPressure: (pressure) => {
      for (const { logs } of world.stores.values()) logs.pressure = pressure;
    },
    loseDisk: (storePath, diskId) => {
      const { log } = storeAt(storePath).logs.ofDisk(diskId);
      log.commit(world.clock.nowMs(), { disks: withoutEntry(log.current.disks, diskId) });
    },
    failLog: (storePath, logId, code) => {
      const { failing } = storeAt(storePath).logs;
      if (code === null) failing.delete(logId);
      else failing.set(logId, code);
    },
    fenceLog: (storePath, logId) => {
      storeAt(storePath).logs.fenced.set(logId, 'cannot sync a segment');
    },
    crash: (how = 'processKilled') => {
      world.life += 1;
      for (const store of world.stores.values()) {
        store.isLocked = false;
        store.logs.stop(how === 'powerCut');
      }
    },
  };
}

function create(world: World, request: CreateRequest, storeId: string): void {
  const { chunkBytes, compression, compressionLevel } = request;
  const storePath = path.resolve(request.path);
  if (world.stores.has(storePath))
    throw new StillpointError('STORE_EXISTS', `there is a store at ${storePath}`, { path: storePath });
  world.stores.set(storePath, {
    info: { storeId, formatVersion: 1, createdMs: world.clock.nowMs(), chunkBytes, compression, compressionLevel },
    points: new Map(),
    damaged: new Map(),
    quarantined: new Set(),
    logs: new MemoryLogs(),
    packBytes: 0,
    parents: new Map(),
    isLocked: false,
  });
}

function pointIn(points: ReadonlyMap<string, StoredPoint>, pointId: string): StoredPoint {
  const point = points.get(pointId);
  if (point === undefined)
    throw new StillpointError('POINT_NOT_FOUND', `there is no restore point ${pointId}`, { pointId });
  return point;
}

function openEngine(world: World, store: StoredStore, { path: storePath, readOnly }: OpenRequest): Engine {
  if (!readOnly && store.isLocked)
    throw new StillpointError('STORE_LOCKED', `${storePath} is open elsewhere`, { path: storePath });
  if (!readOnly) store.isLocked = true;
  return new MemoryEngine(world, store, readOnly);
}

/** One open store. */
class MemoryEngine extends MemoryLive implements Engine {
  readonly info: StoreInfo;
  readonly readOnly: boolean;
  readonly findings: readonly Finding[];
  readonly #world: World;
  readonly #store: StoredStore;
  readonly #life: number;
  readonly #running = new Set<Promise<unknown>>();
  #isClosed = false;

  constructor(world: World, store: StoredStore, readOnly: boolean) {
    super(readOnly ? new MemoryLogs() : store.logs);
    this.#world = world;
    this.#store = store;
    this.#life = world.life;
    this.info = store.info;
    this.readOnly = readOnly;
    this.findings = [...store.damaged.keys()].map(damagedFinding);
  }

  manifests(): Promise<readonly Manifest[]> {
    return this.#call(async () => [...this.#store.points.values()].map(({ manifest }) => manifest));
  }

  scan(requests: readonly ScanDiskRequest[], control: Control = {}): Promise<Scan> {
    return this.#write(async () => {
      await this.#step('scan-before', control);
      const startedMs = this.#world.clock.nowMs();
      const disks = new Map<string, Uint8Array>();
      const scanned: ScannedDisk[] = [];
      for (const request of requests) {
        if (request.parentPointId !== null) pointIn(this.#store.points, request.parentPointId);
        const bytes = await sourceBytes(this.#world, request.path, request.sectorBytes);
        disks.set(request.diskId, bytes);
        scanned.push(scannedDisk(request.diskId, bytes));
        control.onProgress?.({ doneBytes: bytes.length, totalBytes: bytes.length });
      }
      this.#store.parents = new Map(requests.map(({ diskId, parentPointId }) => [diskId, parentPointId]));
      this.#store.packBytes += scanned.reduce((sum, { bytesStored }) => sum + bytesStored, 0);
      await this.#step('scan-after', control);
      return this.#scanned(requests, disks, scanned, startedMs);
    });
  }

  #scanned(
    requests: readonly ScanDiskRequest[],
    disks: ReadonlyMap<string, Uint8Array>,
    scanned: readonly ScannedDisk[],
    startedMs: number,
  ): Scan {
    return {
      disks: scanned,
      startedMs,
      endedMs: this.#world.clock.nowMs(),
      publish: ({ pointId, createdMs, detail }) =>
        this.#write(async () => {
          await this.#step('publish-before');
          const manifestDisks = requests.map(({ diskId, sectorBytes }) => {
            return { diskId, sectorBytes, sizeBytes: disks.get(diskId)?.length ?? 0 };
          });
          this.#store.points.set(pointId, { manifest: { pointId, createdMs, disks: manifestDisks, detail }, disks });
          await this.#step('publish-after');
        }),
      abandon: () => this.#write(() => this.#step('abandon')),
    };
  }

  removePoint(pointId: string): Promise<void> {
    return this.#write(async () => {
      await this.#step('remove-before');
      this.#store.points.delete(pointId);
      this.#store.damaged.delete(pointId);
      await this.#step('remove-after');
    });
  }

  quarantinePoint(pointId: string): Promise<void> {
    return this.#write(async () => {
      await this.#step('quarantine');
      this.#store.points.delete(pointId);
      this.#store.quarantined.add(pointId);
    });
  }

  read(disk: DiskReference, offset: number, length: number): Promise<Uint8Array> {
    return this.#call(async () => {
      await this.#step('read');
      const bytes = this.pointBytes(disk);
      if (offset + length > bytes.length) {
        const message = `${length} bytes from ${offset} reach past the end of the disk at ${bytes.length}`;
        throw new StillpointError('ARGUMENT_INVALID', message, { offset, length, sizeBytes: bytes.length });
      }
      return bytes.slice(offset, offset + length);
    });
  }

  diff(
    before: DiskReference,
    after: DiskReference,
    granularityBytes: number | null,
    control: Control = {},
  ): Promise<DiffCursor> {
    return this.#call(async () => {
      await this.#step('diff', control);
      const [older, newer] = [this.pointBytes(before), this.pointBytes(after)];
      const extents = extentsBetween(older, newer, granularityBytes ?? this.info.chunkBytes);
      let at = 0;
      return {
        sizeBefore: older.length,
        sizeAfter: newer.length,
        // Small pages, so that callers have to ask more than once.
        next: () =>
          this.#call(async () => {
            await this.#step('diff-page', control);
            at += 4;
            return extents.slice(at - 4, at);
          }),
        close: () => undefined,
      };
    });
  }

  restore(request: RestoreRequest, control: Control = {}): Promise<RestoreReport> {
    return this.#call(async () => {
      await this.#step('restore', control);
      const bytes = this.pointBytes(request);
      await (request.overwrite ? writeOver(request.targetPath, bytes) : writeNew(request.targetPath, bytes));
      control.onProgress?.({ doneBytes: bytes.length, totalBytes: bytes.length });
      return { sizeBytes: bytes.length, bytesWritten: bytes.length };
    });
  }

  verify(_options: { readonly readData: boolean }, control: Control = {}): Promise<VerifyReport> {
    return this.#call(async () => {
      await this.#step('verify', control);
      const findings = [...this.#store.damaged.keys()].map(damagedFinding);
      return { findings, pointsChecked: this.#store.points.size, chunksChecked: 0, bytesRead: 0 };
    });
  }

  collect({ dryRun }: { readonly dryRun: boolean }, control: Control = {}): Promise<CollectReport> {
    return this.#write(async () => {
      await this.#step('collect', control);
      const needed = this.#neededBytes();
      const bytesFreed = this.#store.packBytes - needed;
      if (!dryRun) this.#store.packBytes = needed;
      return { dryRun, packsRemoved: 0, packsRewritten: 0, chunksRemoved: 0, bytesFreed, bytesRewritten: 0 };
    });
  }

  withReserve<T>(work: () => Promise<T>): Promise<T> {
    return work();
  }

  /** There is nobody on the other side of a socket in memory. */
  serveNbd(): Promise<NbdServing> {
    return Promise.reject(new TypeError('an engine in memory serves no clients'));
  }

  usage(): Promise<Usage> {
    return this.#call(async () => ({
      packCount: this.#store.points.size,
      packBytes: this.#store.packBytes,
      indexBytes: 0,
      manifestBytes: [...this.#store.points.values()].reduce((sum, { manifest }) => sum + manifest.detail.length, 0),
      chunkCount: 0,
      availableBytes: Number.MAX_SAFE_INTEGER,
    }));
  }

  statistics(machines: readonly (readonly string[])[], control: Control = {}): Promise<Statistics> {
    return this.#call(async () => {
      await this.#step('statistics', control);
      const sizes = [...this.#store.points].map(([pointId, { disks }]): [string, number] => {
        return [pointId, [...disks.values()].reduce((sum, bytes) => sum + bytes.length, 0)];
      });
      return statisticsOf(new Map(sizes), machines, this.#store.packBytes - this.#neededBytes());
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await Promise.allSettled(this.#running);
    if (this.readOnly || this.#life !== this.#world.life) return;
    this.#store.logs.close();
    this.#store.isLocked = false;
  }

  #neededBytes(): number {
    const points = [...this.#store.points.values(), ...this.#store.damaged.values()];
    return points.reduce(
      (sum, { disks }) => sum + [...disks.values()].reduce((all, bytes) => all + bytes.length, 0),
      0,
    );
  }

  protected liveStep(step: LiveStep, control?: Control): Promise<void> {
    return this.#step(step, control);
  }

  protected liveWrite<T>(call: () => Promise<T>): Promise<T> {
    return this.#write(call);
  }

  protected liveRead<T>(call: () => Promise<T>): Promise<T> {
    return this.#call(call);
  }

  protected nowMs(): number {
    return this.#world.clock.nowMs();
  }

  protected imageBytes(source: string, sectorBytes: number): Promise<Uint8Array> {
    return sourceBytes(this.#world, source, sectorBytes);
  }

  protected publishedDisks(pointId: string): ReadonlyMap<string, Uint8Array> | undefined {
    return this.#store.points.get(pointId)?.disks;
  }

  protected publishPoint(manifest: Manifest, disks: ReadonlyMap<string, Uint8Array>): void {
    this.#store.packBytes += [...disks.values()].reduce((sum, bytes) => sum + bytes.length, 0);
    this.#store.points.set(manifest.pointId, { manifest, disks });
  }

  async #step(step: EngineStep, control: Control = {}): Promise<void> {
    const check = (): void => {
      // After a crash the calls that were running have no effect any more.
      if (this.#life !== this.#world.life) throw new StillpointError('STORE_FENCED', 'the process has ended');
      if (control.signal?.aborted === true)
        throw new StillpointError('CANCELLED', 'the call was cancelled', {}, control.signal.reason);
    };
    check();
    await this.#world.step(step);
    check();
  }

  #write<T>(call: () => Promise<T>): Promise<T> {
    if (this.readOnly)
      return Promise.reject(new StillpointError('STORE_READ_ONLY', 'the store is open for reading only'));
    return this.#call(call);
  }

  #call<T>(call: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(new StillpointError('STORE_CLOSED', 'the store was closed'));
    const running = call();
    this.#running.add(running);
    const forget = (): void => {
      this.#running.delete(running);
    };
    running.then(forget, forget);
    return running;
  }
}

function damagedFinding(pointId: string): Finding {
  const file = `home/manifests/${pointId}.manifest`;
  return {
    file,
    offset: null,
    length: null,
    code: 'MANIFEST_DAMAGED',
    message: 'the checksum does not hold',
    hits: [],
  };
}

async function sourceBytes(world: World, source: string, sectorBytes: number): Promise<Uint8Array> {
  const bytes = world.sources.get(path.resolve(source)) ?? (await fileBytes(source));
  if (bytes.length === 0 || bytes.length % sectorBytes !== 0) {
    const message = `${source} has ${bytes.length} bytes, not a whole number of sectors of ${sectorBytes}`;
    throw new StillpointError('SOURCE_SIZE_INVALID', message, { path: source, sizeBytes: bytes.length, sectorBytes });
  }
  return bytes.slice();
}

async function fileBytes(source: string): Promise<Uint8Array> {
  try {
    return await readFile(source);
  } catch (cause) {
    throw new StillpointError('SOURCE_NOT_FOUND', `there is no image ${source}`, { path: source }, cause);
  }
}
