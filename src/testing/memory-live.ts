/**
 * Live disks of the engine in memory: whole copies of everything at every LSN. Slow, large and obviously right.
 *
 * What it does not do: fold layers, shrink the window, run out of space, or sync by itself.
 */

import type {
  Control,
  CopyRequest,
  Cut,
  CutRequest,
  DiskLimits,
  DiskOperation,
  DiskReference,
  LiveDisk,
  LiveEngine,
  LivePressure,
  Manifest,
  Moment,
  PendingCut,
  ScannedDisk,
  UnavailableLog,
  UncleanLog,
} from '../native/engine.js';
import { StillpointError } from '../store/errors.js';
import { MemoryLog, withEntry, withoutEntry, type CutState, type DiskState, type MemoryLogs } from './memory-logs.js';

/** The steps of live disks that a test can stop at. */
export type LiveStep =
  | 'disk-create-before'
  | 'disk-create-after'
  | 'disk-delete-before'
  | 'disk-delete-after'
  | 'disk-read'
  | 'disk-write'
  | 'disk-flush'
  | 'logs-reopen'
  | 'log-create-before'
  | 'log-create-after'
  | 'log-delete-before'
  | 'log-delete-after'
  | 'attach-before'
  | 'attach-after'
  | 'detach-before'
  | 'detach-after'
  | 'grow-before'
  | 'grow-after'
  | 'cut-before'
  | 'cut-after'
  | 'durable-before'
  | 'durable-after'
  | 'copy-before'
  | 'copy-disk'
  | 'copy-publish-before'
  | 'copy-publish-after'
  | 'release-before'
  | 'release-after'
  | 'drop-before'
  | 'drop-after'
  | 'reset-before'
  | 'reset-after'
  | 'moment';

/** Cuts of one log that may wait for their copies. */
const layersMax = 8;

/** What a scan or a copy of whole disks says. */
export function scannedDisk(diskId: string, bytes: Uint8Array): ScannedDisk {
  const chunks = { hole: 0, fill: 0, unchanged: 0, known: 0, stored: 1 };
  const sizeBytes = bytes.length;
  return { diskId, sizeBytes, bytesRead: sizeBytes, bytesNew: sizeBytes, bytesStored: sizeBytes, chunks };
}

function outOfRange(offset: number, length: number, sizeBytes: number): StillpointError {
  const message = `${length} bytes from ${offset} are no range of a disk of ${sizeBytes} bytes`;
  return new StillpointError('ARGUMENT_INVALID', message, { offset, length, sizeBytes });
}

/** Proves that a range lies inside a disk and at its sectors. */
function checkRange({ disk, bytes }: DiskState, offset: number, length: number): void {
  const isAligned = offset % disk.sectorBytes === 0 && length % disk.sectorBytes === 0;
  const isWhole = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!isWhole || !isAligned || offset + length > bytes.length) throw outOfRange(offset, length, bytes.length);
}

/** Live disks of one open store. The engine on top gives steps, points and the lives of processes. */
export abstract class MemoryLive implements LiveEngine {
  readonly #logs: MemoryLogs;

  constructor(logs: MemoryLogs) {
    this.#logs = logs;
  }

  protected abstract liveStep(step: LiveStep, control?: Control): Promise<void>;
  /** Runs a call that changes something. */
  protected abstract liveWrite<T>(call: () => Promise<T>): Promise<T>;
  protected abstract liveRead<T>(call: () => Promise<T>): Promise<T>;
  protected abstract nowMs(): number;
  protected abstract imageBytes(path: string, sectorBytes: number): Promise<Uint8Array>;
  /** The disks of a point with a manifest. */
  protected abstract publishedDisks(pointId: string): ReadonlyMap<string, Uint8Array> | undefined;
  protected abstract publishPoint(manifest: Manifest, disks: ReadonlyMap<string, Uint8Array>): void;

  liveDisks(): readonly LiveDisk[] {
    return [...this.#logs.logs.values()].flatMap(({ machineId, current }) =>
      [...current.disks.values()].map(({ disk, bytes }) => ({ ...disk, machineId, sizeBytes: bytes.length })),
    );
  }

  unclean(): readonly UncleanLog[] {
    return this.#logs.unclean;
  }

  unavailableLogs(): readonly UnavailableLog[] {
    return [...this.#logs.closed].map(([logId, { log, code }]) => ({
      logId,
      diskIds: [...log.current.disks.keys()],
      code,
      message: `cannot open live/${logId}`,
    }));
  }

  fencedLogs(): readonly UnavailableLog[] {
    return [...this.#logs.fenced].flatMap(([logId, reason]) => {
      const log = this.#logs.logs.get(logId);
      if (log === undefined) return [];
      const message = `the write log takes no more writes, since ${reason}`;
      return [{ logId, diskIds: [...log.current.disks.keys()], code: 'LOG_FENCED', message }];
    });
  }

  reopenLogs(): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('logs-reopen');
      this.#logs.reopen();
    });
  }

  pendingCuts(): readonly PendingCut[] {
    return [...this.#logs.logs.values()].flatMap(({ cuts }) =>
      [...cuts.values()].map((cut) => {
        const { pointId, machineId, collection, name, detail } = cut.request;
        const { lsn, timeMs, disks } = cutOf(cut);
        const pinned = this.#logs.isPinned(pointId);
        return { pointId, machineId, collection, name, lsn, timeMs, disks, detail, pinned };
      }),
    );
  }

  livePressure(): LivePressure {
    if (this.#logs.pressure !== null) return this.#logs.pressure;
    const logs = [...this.#logs.logs.values()];
    const layers = Math.max(0, ...logs.map(({ cuts }) => cuts.size));
    return { debtBytes: 0, availableBytes: Number.MAX_SAFE_INTEGER, logBytes: 0, layers };
  }

  createDisk(request: Parameters<LiveEngine['createDisk']>[0]): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('disk-create-before');
      const { from, sizeBytes, ...disk } = request;
      const bytes = new Uint8Array(sizeBytes);
      bytes.set(from === null ? [] : this.pointBytes(from));
      this.#addDetached({ disk: { ...disk, generation: 1 }, bytes, standsOn: this.#standingOn(from, null) });
      await this.liveStep('disk-create-after');
    });
  }

  importDisk(
    request: Parameters<LiveEngine['importDisk']>[0],
    control: Control = {},
  ): ReturnType<LiveEngine['importDisk']> {
    return this.liveWrite(async () => {
      await this.liveStep('disk-create-before', control);
      const { path, ...disk } = request;
      const bytes = await this.imageBytes(path, disk.sectorBytes);
      control.onProgress?.({ doneBytes: bytes.length, totalBytes: bytes.length });
      this.#addDetached({ disk: { ...disk, generation: 1 }, bytes, standsOn: null });
      await this.liveStep('disk-create-after');
      const { sizeBytes, bytesRead, bytesNew, bytesStored } = scannedDisk(disk.diskId, bytes);
      return { sizeBytes, bytesRead, bytesNew, bytesStored };
    });
  }

  createMachineLog(machineId: string): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('log-create-before');
      this.#logs.logs.set(machineId, new MemoryLog(machineId));
      await this.liveStep('log-create-after');
    });
  }

  deleteMachineLog(machineId: string): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('log-delete-before');
      this.#logs.checkOpen(machineId);
      const log = this.#logs.logs.get(machineId);
      if (log !== undefined && log.current.disks.size + log.cuts.size > 0) {
        throw new StillpointError('INTERNAL', `the log of ${machineId} has disks or cuts`, { machineId });
      }
      this.#logs.logs.delete(machineId);
      await this.liveStep('log-delete-after');
    });
  }

  attachDisk(diskId: string, machineId: string, role: string): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('attach-before');
      const { log, state } = this.#logs.ofDisk(diskId);
      if (log.machineId !== null) throw new StillpointError('DISK_ATTACHED', `${diskId} is attached`, { diskId });
      const own = this.#logs.ofMachine(machineId);
      const disk = { ...state.disk, role, generation: state.disk.generation + 1 };
      own.commit(this.nowMs(), { disks: withEntry(own.current.disks, diskId, { ...state, disk }) });
      this.#logs.logs.delete(diskId);
      await this.liveStep('attach-after');
    });
  }

  detachDisk(diskId: string): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('detach-before');
      const { log, state } = this.#logs.ofDisk(diskId);
      if (log.machineId === null) throw new StillpointError('DISK_DETACHED', `${diskId} is detached`, { diskId });
      log.commit(this.nowMs(), { disks: withoutEntry(log.current.disks, diskId) });
      this.#addDetached({ ...state, disk: { ...state.disk, generation: state.disk.generation + 1 } });
      await this.liveStep('detach-after');
    });
  }

  deleteDisk(diskId: string): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('disk-delete-before');
      const isAttached = this.liveDisks().some((disk) => disk.diskId === diskId && disk.machineId !== null);
      if (isAttached) throw new StillpointError('DISK_ATTACHED', `${diskId} is attached`, { diskId });
      this.#logs.logs.delete(diskId);
      this.#logs.closed.delete(diskId);
      await this.liveStep('disk-delete-after');
    });
  }

  growDisk(diskId: string, sizeBytes: number): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('grow-before');
      const { log, state } = this.#logs.ofDisk(diskId);
      if (sizeBytes < state.bytes.length) throw outOfRange(0, sizeBytes, state.bytes.length);
      const bytes = new Uint8Array(sizeBytes);
      bytes.set(state.bytes);
      log.commit(this.nowMs(), { disks: withEntry(log.current.disks, diskId, { ...state, bytes }) });
      await this.liveStep('grow-after');
    });
  }

  /** Rates are kept by nobody here: there is nothing to wait for. */
  limitDisk(diskId: string, { operationsPerSecond, bytesPerSecond }: DiskLimits): Promise<void> {
    return this.liveWrite(() => {
      this.#logs.ofDisk(diskId);
      const isRate = (rate: number | null): boolean => rate === null || (Number.isSafeInteger(rate) && rate > 0);
      if (!isRate(operationsPerSecond) || !isRate(bytesPerSecond)) {
        throw new StillpointError('ARGUMENT_INVALID', 'a rate is a whole number from 1, or null', { diskId });
      }
      return Promise.resolve();
    });
  }

  /** Nothing waits here. */
  liftLimits(): void {
    return undefined;
  }

  readDisk(diskId: string, offset: number, buffer: Uint8Array): Promise<void> {
    return this.liveRead(async () => {
      await this.liveStep('disk-read');
      const { state } = this.#logs.ofDisk(diskId);
      checkRange(state, offset, buffer.length);
      buffer.set(state.bytes.subarray(offset, offset + buffer.length));
    });
  }

  writeDisk(diskId: string, offset: number, bytes: Uint8Array, fua: boolean): Promise<string> {
    const taken = bytes.slice();
    return this.#changeDisk(diskId, offset, taken.length, fua, (next) => next.set(taken, offset));
  }

  zeroDisk(
    diskId: string,
    offset: number,
    length: number,
    { fua }: { readonly trim: boolean; readonly fua: boolean },
  ): Promise<string> {
    return this.#changeDisk(diskId, offset, length, fua, (next) => next.fill(0, offset, offset + length));
  }

  flushDisk(diskId: string): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('disk-flush');
      const { log } = this.#logs.ofDisk(diskId);
      this.#logs.checkWritable(log);
      log.durable = log.current;
    });
  }

  async batchDisk(diskId: string, operations: readonly DiskOperation[]): Promise<void> {
    await Promise.all(
      operations.map(async (operation) => {
        switch (operation.kind) {
          case 'read':
            return this.readDisk(diskId, operation.offset, operation.buffer);
          case 'write':
            await this.writeDisk(diskId, operation.offset, operation.bytes, operation.fua === true);
            return;
          case 'zero':
          case 'trim':
            await this.zeroDisk(diskId, operation.offset, operation.length, {
              trim: operation.kind === 'trim',
              fua: false,
            });
            return;
          case 'flush':
            return this.flushDisk(diskId);
        }
      }),
    );
  }

  cut(request: CutRequest): Promise<Cut> {
    return this.liveWrite(async () => {
      await this.liveStep('cut-before');
      const log = this.#logs.ofMachine(request.machineId);
      this.#logs.checkWritable(log);
      if (log.cuts.size >= layersMax) {
        const message = `${log.cuts.size} points of the machine wait for their copies`;
        throw new StillpointError('LAYERS_FULL', message, { machineId: request.machineId, layers: layersMax });
      }
      const timeMs = Math.max(this.nowMs(), log.current.timeMs);
      const cut: CutState = { request, lsn: log.current.lsn + 1n, timeMs, disks: log.current.disks };
      log.append(timeMs, { cuts: withEntry(log.current.cuts, request.pointId, cut) });
      await this.liveStep('cut-after');
      return this.#cut(log, cut);
    });
  }

  foldCut(
    pointId: string,
    diskIds: readonly string[],
    control: Control = {},
  ): Promise<{ readonly disks: readonly ScannedDisk[] }> {
    return this.liveWrite(async () => {
      await this.liveStep('copy-before', control);
      const cut = this.#logs.cut(pointId)?.cut;
      if (cut === undefined && this.publishedDisks(pointId) !== undefined) return { disks: [] };
      const folded = this.#pendingCut(pointId);
      await this.#fold(folded, control);
      return { disks: diskIds.map((id) => scannedDisk(id, diskIn(folded, id).bytes)) };
    });
  }

  copy(request: CopyRequest, control: Control = {}): Promise<{ readonly disks: readonly ScannedDisk[] }> {
    return this.liveWrite(async () => {
      const { pointId, createdMs, detail, diskIds } = request;
      const published = this.publishedDisks(pointId);
      if (published !== undefined) return { disks: [...published].map(([id, bytes]) => scannedDisk(id, bytes)) };
      const cut = this.#pendingCut(pointId);
      const kept = diskIds.map((id) => [id, diskIn(cut, id)] as const);
      const disks = kept.map(([diskId, { disk, bytes }]) => {
        return { diskId, sizeBytes: bytes.length, sectorBytes: disk.sectorBytes };
      });
      await this.liveStep('copy-publish-before', control);
      this.publishPoint({ pointId, createdMs, disks, detail }, new Map(kept.map(([id, { bytes }]) => [id, bytes])));
      this.#logs.resolve(pointId);
      await this.liveStep('copy-publish-after');
      return { disks: kept.map(([id, { bytes }]) => scannedDisk(id, bytes)) };
    });
  }

  releaseCut(pointId: string): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('release-before');
      this.#logs.cut(pointId)?.log.release(this.nowMs(), pointId);
      await this.liveStep('release-after');
    });
  }

  dropCut(pointId: string, control: Control = {}): Promise<void> {
    return this.liveWrite(async () => {
      await this.liveStep('drop-before', control);
      const found = this.#logs.cut(pointId);
      if (found !== undefined && this.#logs.isPinned(pointId)) await this.#fold(found.cut, control);
      this.#logs.resolve(pointId);
      if (found?.log.moments.delete(pointId) !== true) found?.log.drop(pointId);
      await this.liveStep('drop-after');
    });
  }

  resetDisks(
    machineId: string,
    disks: readonly { readonly diskId: string; readonly from: DiskReference }[],
  ): Promise<{ readonly lsn: string }> {
    return this.liveWrite(async () => {
      await this.liveStep('reset-before');
      const log = this.#logs.ofMachine(machineId);
      let next = log.current.disks;
      for (const { diskId, from } of disks) {
        const { state } = this.#logs.ofDisk(diskId);
        next = withEntry(next, diskId, {
          ...state,
          bytes: this.pointBytes(from),
          standsOn: this.#standingOn(from, log),
        });
      }
      const lsn = log.append(this.nowMs(), { disks: next });
      await this.liveStep('reset-after');
      return { lsn: String(lsn) };
    });
  }

  pointInTime(request: CutRequest & { readonly at: Moment }): Promise<Cut> {
    return this.liveWrite(async () => {
      await this.liveStep('moment');
      const { at, ...named } = request;
      const log = this.#logs.ofMachine(request.machineId);
      const isIncluded = 'lsn' in at ? BigInt(at.lsn) : at.timeMs;
      const state = log.stateAt(({ lsn, timeMs }) =>
        typeof isIncluded === 'bigint' ? lsn <= isIncluded : timeMs <= isIncluded,
      );
      const isAhead = typeof isIncluded === 'bigint' && isIncluded > log.current.lsn;
      if (state === undefined || isAhead || state.disks.size === 0) {
        throw new StillpointError('MOMENT_NOT_KEPT', `the log does not hold ${String(isIncluded)}`, {
          machine: request.machineId,
          ...at,
        });
      }
      const cut: CutState = { request: named, lsn: state.lsn, timeMs: state.timeMs, disks: state.disks };
      log.moments.set(request.pointId, cut);
      log.durable = log.current;
      return this.#cut(log, cut);
    });
  }

  /** The bytes of a disk of a point, with a manifest or not. Errors: `POINT_NOT_FOUND`, `DISK_NOT_FOUND`. */
  protected pointBytes({ pointId, diskId }: DiskReference): Uint8Array {
    const published = this.publishedDisks(pointId);
    const bytes = published?.get(diskId) ?? this.#logs.cut(pointId)?.cut.disks.get(diskId)?.bytes;
    if (bytes !== undefined) return bytes;
    if (published === undefined) this.#pendingCut(pointId);
    throw new StillpointError('DISK_NOT_FOUND', `${pointId} has no disk ${diskId}`, { pointId, diskId });
  }

  #pendingCut(pointId: string): CutState {
    const cut = this.#logs.cut(pointId)?.cut;
    if (cut !== undefined) return cut;
    for (const logId of this.#logs.closed.keys()) this.#logs.checkOpen(logId);
    throw new StillpointError('POINT_NOT_FOUND', `there is no restore point ${pointId}`, { pointId });
  }

  /** The point that a disk with this content stands on by its id: one whose cut waits in another log. */
  #standingOn(from: DiskReference | null, own: MemoryLog | null): string | null {
    if (from === null || this.publishedDisks(from.pointId) !== undefined) return null;
    const found = this.#logs.cut(from.pointId);
    // What stands on a moment, which a crash takes, gets its maps at once.
    return found === undefined || found.log === own || found.log.moments.has(from.pointId) ? null : from.pointId;
  }

  #addDetached(state: DiskState): void {
    const log = new MemoryLog(null);
    log.commit(this.nowMs(), { disks: new Map([[state.disk.diskId, state]]) });
    this.#logs.logs.set(state.disk.diskId, log);
  }

  async #fold(cut: CutState, control: Control): Promise<void> {
    const totalBytes = [...cut.disks.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
    let doneBytes = 0;
    for (const { bytes } of cut.disks.values()) {
      await this.liveStep('copy-disk', control);
      doneBytes += bytes.length;
      control.onProgress?.({ doneBytes, totalBytes });
    }
  }

  #cut(log: MemoryLog, cut: CutState): Cut {
    return {
      ...cutOf(cut),
      durable: () =>
        this.liveWrite(async () => {
          await this.liveStep('durable-before');
          log.durable = log.current;
          await this.liveStep('durable-after');
        }),
    };
  }

  #changeDisk(
    diskId: string,
    offset: number,
    length: number,
    fua: boolean,
    change: (bytes: Uint8Array) => void,
  ): Promise<string> {
    return this.liveWrite(async () => {
      await this.liveStep('disk-write');
      const { log, state } = this.#logs.ofDisk(diskId);
      checkRange(state, offset, length);
      this.#logs.checkWritable(log);
      const bytes = state.bytes.slice();
      change(bytes);
      const lsn = log.append(this.nowMs(), { disks: withEntry(log.current.disks, diskId, { ...state, bytes }) });
      if (fua) log.durable = log.current;
      return String(lsn);
    });
  }
}

function diskIn({ request, disks }: CutState, diskId: string): DiskState {
  const state = disks.get(diskId);
  if (state !== undefined) return state;
  throw new StillpointError('DISK_NOT_FOUND', `${request.pointId} has no disk ${diskId}`, { diskId });
}

function cutOf({ lsn, timeMs, disks }: CutState): Omit<Cut, 'durable'> {
  return {
    lsn: String(lsn),
    timeMs,
    disks: [...disks].map(([diskId, { disk, bytes }]) => {
      return { diskId, sizeBytes: bytes.length, sectorBytes: disk.sectorBytes };
    }),
  };
}
