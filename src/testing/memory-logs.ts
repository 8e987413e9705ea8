/**
 * Write logs in memory: a state is a value, so everything that a log ever was can be kept and gone back to.
 *
 * `current` is what readers see and what the end of a process leaves; `durable` is what a power cut leaves. Whoever
 * changes a superblock makes both equal.
 */

import type { CutRequest, LiveDisk, LivePressure, UncleanLog } from '../native/engine.js';
import { StillpointError, type ErrorCode } from '../store/errors.js';

/** A live disk at one LSN. */
export interface DiskState {
  readonly disk: Omit<LiveDisk, 'machineId' | 'sizeBytes'>;
  /** Never changed in place. */
  readonly bytes: Uint8Array;
  /** The point that the disk stands on by its id, while that has no manifest. */
  readonly standsOn: string | null;
}

/** A cut that is not released yet. */
export interface CutState {
  readonly request: CutRequest;
  readonly lsn: bigint;
  readonly timeMs: number;
  readonly disks: ReadonlyMap<string, DiskState>;
}

/** A log at one LSN. */
export interface LogState {
  readonly lsn: bigint;
  readonly timeMs: number;
  readonly disks: ReadonlyMap<string, DiskState>;
  readonly cuts: ReadonlyMap<string, CutState>;
}

/** How many states a log keeps for moments in the past. */
const historyMax = 256;

/** New LSNs start so far above the highest known after a stop. */
const lsnGap = 1n << 32n;

/** The log of a machine or of a detached disk. */
export class MemoryLog {
  readonly machineId: string | null;
  readonly #dropped = new Set<string>();
  current: LogState = { lsn: 0n, timeMs: 0, disks: new Map(), cuts: new Map() };
  durable: LogState = this.current;
  history: LogState[] = [];
  /** Moments that somebody looks at, by their hidden points; the end of the process ends them. */
  readonly moments: Map<string, CutState> = new Map<string, CutState>();

  constructor(machineId: string | null) {
    this.machineId = machineId;
  }

  /** Appends a record. */
  append(timeMs: number, change: Partial<Pick<LogState, 'disks' | 'cuts'>>): bigint {
    this.current = {
      ...this.current,
      ...change,
      lsn: this.current.lsn + 1n,
      timeMs: Math.max(timeMs, this.current.timeMs),
    };
    this.history = [...this.history.slice(1 - historyMax), this.current];
    return this.current.lsn;
  }

  /** The cuts that are not dropped. */
  get cuts(): ReadonlyMap<string, CutState> {
    return new Map([...this.current.cuts].filter(([pointId]) => !this.#dropped.has(pointId)));
  }

  /** Forgets a cut until the log is opened again: its record stays in the log until that of a younger one is released. */
  drop(pointId: string): void {
    this.#dropped.add(pointId);
  }

  /** Lets go of a cut, durably, and of those below it that were dropped. */
  release(timeMs: number, pointId: string): void {
    const released = this.current.cuts.get(pointId);
    if (released === undefined) return;
    const kept = [...this.current.cuts].filter(([id, { lsn }]) => {
      return id !== pointId && !(this.#dropped.has(id) && lsn < released.lsn);
    });
    this.commit(timeMs, { cuts: new Map(kept) });
  }

  /** Changes what the superblock says, durably. */
  commit(timeMs: number, change: Partial<Pick<LogState, 'disks' | 'cuts'>>): void {
    this.append(timeMs, change);
    this.durable = this.current;
  }

  /** The newest state that the log keeps and that `isIncluded`. */
  stateAt(isIncluded: (state: LogState) => boolean): LogState | undefined {
    return this.history.findLast(isIncluded);
  }

  /** Forgets what only the process knows that has the log open. */
  forget(): void {
    this.moments.clear();
    this.#dropped.clear();
  }

  /** What the next process finds. */
  stop(logId: string, isPowerCut: boolean): UncleanLog | null {
    const lost = isPowerCut ? this.current.lsn - this.durable.lsn : 0n;
    const kept = isPowerCut ? this.durable : this.current;
    this.forget();
    this.history = this.history.filter(({ lsn }) => lsn <= kept.lsn);
    this.current = { ...kept, lsn: this.current.lsn + lsnGap };
    this.durable = this.current;
    if (lost === 0n) return null;
    return {
      logId,
      machineId: this.machineId,
      durableLsn: String(kept.lsn),
      droppedRecords: Number(lost),
      droppedBytes: 0,
      lastTimeMs: kept.timeMs,
    };
  }
}

/** All logs of a store. */
export class MemoryLogs {
  readonly logs: Map<string, MemoryLog> = new Map<string, MemoryLog>();
  /** Logs that cannot be opened, and why. */
  readonly closed: Map<string, { readonly log: MemoryLog; readonly code: ErrorCode }> = new Map<
    string,
    { readonly log: MemoryLog; readonly code: ErrorCode }
  >();
  /** Ids of logs that cannot be opened from the next stop on. */
  readonly failing: Map<string, ErrorCode> = new Map<string, ErrorCode>();
  /** Logs that take no more writes, and since what. */
  readonly fenced: Map<string, string> = new Map<string, string>();
  unclean: UncleanLog[] = [];
  /** What is told instead of the figures of these logs. */
  pressure: LivePressure | null = null;

  /** Ends the process. */
  stop(isPowerCut: boolean): void {
    for (const [logId, { log }] of this.closed) this.logs.set(logId, log);
    this.closed.clear();
    this.fenced.clear();
    this.unclean = [...this.logs].flatMap(([logId, log]) => log.stop(logId, isPowerCut) ?? []);
    this.#closeFailing();
  }

  /** Tries again to open those that could not be opened, and opens those anew that are fenced. */
  reopen(): void {
    for (const [logId, { log }] of this.closed) this.logs.set(logId, log);
    this.closed.clear();
    for (const logId of this.fenced.keys()) {
      if (this.failing.has(logId)) continue;
      const log = this.logs.get(logId);
      if (log !== undefined) log.durable = log.current;
      log?.forget();
      this.fenced.delete(logId);
    }
    this.#closeFailing();
  }

  /** Proves that a log takes writes. Errors: `LOG_FENCED`. */
  checkWritable(log: MemoryLog): void {
    for (const [logId, reason] of this.fenced) {
      if (this.logs.get(logId) !== log) continue;
      throw new StillpointError('LOG_FENCED', `the write log takes no more writes, since ${reason}`, { logId });
    }
  }

  #closeFailing(): void {
    for (const [logId, code] of this.failing) {
      const log = this.logs.get(logId);
      if (log === undefined || this.fenced.has(logId)) continue;
      this.closed.set(logId, { log, code });
      this.logs.delete(logId);
    }
  }

  /** Proves that a log is not one that could not be opened. Errors: `LOG_UNAVAILABLE`. */
  checkOpen(logId: string): void {
    if (!this.closed.has(logId)) return;
    throw new StillpointError('LOG_UNAVAILABLE', `the write log live/${logId} could not be opened`, { logId });
  }

  /** Closes all logs: nothing is lost from here on. */
  close(): void {
    this.unclean = [];
    this.reopen();
    for (const log of this.logs.values()) {
      log.durable = log.current;
      log.forget();
    }
  }

  /** The log of a machine. Errors: `MACHINE_NOT_FOUND`. */
  ofMachine(machineId: string): MemoryLog {
    const log = this.logs.get(machineId);
    if (log !== undefined) return log;
    this.checkOpen(machineId);
    throw new StillpointError('MACHINE_NOT_FOUND', `there is no log of the machine ${machineId}`, { machineId });
  }

  /** The log that has a disk. Errors: `DISK_NOT_FOUND`. */
  ofDisk(diskId: string): { readonly log: MemoryLog; readonly state: DiskState } {
    for (const log of this.logs.values()) {
      const state = log.current.disks.get(diskId);
      if (state !== undefined) return { log, state };
    }
    for (const [logId, { log }] of this.closed) if (log.current.disks.has(diskId)) this.checkOpen(logId);
    throw new StillpointError('DISK_NOT_FOUND', `there is no live disk ${diskId}`, { diskId });
  }

  /** The cut of a point, or the moment, with its log. */
  cut(pointId: string): { readonly log: MemoryLog; readonly cut: CutState } | undefined {
    for (const log of this.logs.values()) {
      const cut = log.cuts.get(pointId) ?? log.moments.get(pointId);
      if (cut !== undefined) return { log, cut };
    }
    return undefined;
  }

  /** Adds a cut of all that a machine has now; a disk of another log may stand on it. */
  addCut(request: CutRequest, standingDiskId: string | null): void {
    const log = this.ofMachine(request.machineId);
    const { lsn, timeMs, disks, cuts } = log.current;
    log.commit(timeMs, { cuts: withEntry(cuts, request.pointId, { request, lsn: lsn + 1n, timeMs, disks }) });
    if (standingDiskId === null) return;
    const { log: other, state } = this.ofDisk(standingDiskId);
    const standing = { ...state, standsOn: request.pointId };
    other.commit(timeMs, { disks: withEntry(other.current.disks, standingDiskId, standing) });
  }

  /** Whether a disk of another log stands on a point by its id. */
  isPinned(pointId: string): boolean {
    const own = this.cut(pointId)?.log;
    const closed = [...this.closed.values()].map(({ log }) => log);
    return [...this.logs.values(), ...closed].some(
      (log) => log !== own && [...log.current.disks.values()].some(({ standsOn }) => standsOn === pointId),
    );
  }

  /** Lets whatever stands on a point by its id stand on its roots. */
  resolve(pointId: string): void {
    const closed = [...this.closed.values()].map(({ log }) => log);
    for (const log of [...this.logs.values(), ...closed]) {
      const resolved = (state: LogState): LogState => ({
        ...state,
        disks: new Map(
          [...state.disks].map(([id, disk]) => [id, disk.standsOn === pointId ? { ...disk, standsOn: null } : disk]),
        ),
      });
      const isDurable = log.durable === log.current;
      log.current = resolved(log.current);
      log.durable = isDurable ? log.current : resolved(log.durable);
    }
  }
}

/** A map with one more entry. */
export function withEntry<K, V>(map: ReadonlyMap<K, V>, key: K, value: V): ReadonlyMap<K, V> {
  return new Map(map).set(key, value);
}

/** A map with one entry less. */
export function withoutEntry<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  const next = new Map(map);
  next.delete(key);
  return next;
}
