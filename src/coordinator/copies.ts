/**
 * Background copies: steps 5 to 8 of the commit protocol (DESIGN section 3), one after the other for each machine.
 *
 *   5     engine: packs, map nodes and index durable; what that took is known
 *   6     engine: the manifest, with it                                     <- the commit of the copy
 *   7     catalog: point `copied`, with counts; not if it is being deleted by now
 *   8     engine: the cut's layer released
 *
 * A copy that has to wait for another one, or for a deletion, is tried again when that has ended. One that fails stops those of its machine, as later ones need its result. They are tried again by the next capture
 * of the machine, when somebody waits for one of them, when space may have come back, and when the store is opened.
 */

import type { Catalog } from '../catalog/catalog.js';
import { encodeDetail } from '../catalog/detail.js';
import { lossCode } from '../catalog/finding.js';
import type { PointRecord } from '../catalog/record.js';
import type { Engine, Operation } from '../native/engine.js';
import { isStillpointError, StillpointError } from '../store/errors.js';
import type { MachineId, PointId } from '../store/units.js';
import { capturedBy } from './capture.js';
import { cancelled } from './gate.js';
import { moved } from './state.js';
import { unavailableError } from './unavailable.js';

/** What became of a copy. */
export interface CopyEnd {
  readonly point: PointRecord;
  /** `VM/COLLECTION/POINT`. */
  readonly reference: string;
  /** Null when the point is copied. */
  readonly error: unknown;
}

interface Job {
  readonly pointId: PointId;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
}

interface Waiter {
  readonly resolve: (point: PointRecord) => void;
  readonly reject: (error: unknown) => void;
  readonly onProgress: ((progress: Operation) => void) | undefined;
}

/** What copies stand on. */
export interface CopiesParts {
  readonly engine: Engine;
  readonly catalog: Catalog;
  readonly nowMs: () => number;
  /** Told of every copy that ended, but for those that were cancelled. */
  readonly onEnd: (end: CopyEnd) => void;
}

/** The background copies of one open store. */
export class Copies {
  readonly #parts: CopiesParts;
  readonly #waiting = new Map<MachineId, PointId[]>();
  readonly #running = new Map<MachineId, Job>();
  readonly #waiters = new Map<PointId, Set<Waiter>>();
  readonly #progress = new Map<PointId, Operation>();
  /** How many copies have ended, however. */
  #endedCount = 0;
  /** Machines of which none may begin. */
  readonly #stopped = new Set<MachineId>();
  #isClosed = false;

  constructor(parts: CopiesParts) {
    this.#parts = parts;
  }

  /** Queues the copy of a point that is cut, behind the older ones of its machine. */
  enqueue({ id, machineId }: Pick<PointRecord, 'id' | 'machineId'>): void {
    const queue = this.#waiting.get(machineId) ?? [];
    if (!queue.includes(id) && this.#running.get(machineId)?.pointId !== id) queue.push(id);
    this.#waiting.set(machineId, queue);
    this.#next(machineId);
  }

  /** Tries again what stopped. */
  retry(): void {
    for (const machineId of this.#waiting.keys()) this.#next(machineId);
  }

  /** How much of a point is copied: 0 to 100, and 100 only when it is. */
  percentOf(point: PointRecord): number {
    if (point.state !== 'cut') return 100;
    const { doneBytes, totalBytes } = this.#progress.get(point.id) ?? { doneBytes: 0, totalBytes: 0 };
    return totalBytes === 0 ? 0 : Math.min(99, Math.floor((100 * doneBytes) / totalBytes));
  }

  /**
   * Resolves when a point is copied. Cancelling ends the waiting, not the copy.
   *
   * Errors: what the copy failed with; `POINT_NOT_FOUND` when it is deleted first; `STORE_CLOSED`, `CANCELLED`.
   */
  copied(pointId: PointId, signal?: AbortSignal, onProgress?: (progress: Operation) => void): Promise<PointRecord> {
    const point = this.#parts.catalog.view.point(pointId);
    if (signal?.aborted === true) return Promise.reject(cancelled(signal));
    if (point === undefined || point.state === 'deleting') return Promise.reject(deletedFirst(pointId));
    if (point.failure !== null) {
      const reference = this.#parts.catalog.view.referenceOf(point);
      const message = `${reference} cannot be read: ${point.failure.message}`;
      return Promise.reject(new StillpointError(lossCode(point), message, { point: reference }));
    }
    if (point.state !== 'cut') return Promise.resolve(point);
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(pointId) ?? new Set();
      const leave = (): void => {
        waiters.delete(waiter);
        signal?.removeEventListener('abort', giveUp);
      };
      const giveUp = (): void => {
        leave();
        if (signal !== undefined) reject(cancelled(signal));
      };
      const waiter: Waiter = {
        onProgress,
        resolve: (copied) => {
          leave();
          resolve(copied);
        },
        reject: (error) => {
          leave();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      this.#waiters.set(pointId, waiters.add(waiter));
      this.enqueue(point);
    });
  }

  /** Stops the copy of a point that is being deleted, and resolves when it does nothing any more. */
  async cancel({ id, machineId }: PointRecord): Promise<void> {
    const queue = this.#waiting.get(machineId) ?? [];
    this.#setQueue(
      machineId,
      queue.filter((each) => each !== id),
    );
    const job = this.#running.get(machineId);
    if (job?.pointId === id) {
      job.abort.abort();
      await job.ended;
    }
    this.#settle(id, deletedFirst(id));
  }

  /**
   * Does something that the engine refuses with `STORE_BUSY` while points wait for their copies: again when copies have
   * ended, until it is done or no copy goes on.
   */
  async whenCopied<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      const endedBefore = this.#endedCount;
      try {
        return await work();
      } catch (error) {
        if (!isStillpointError(error, 'STORE_BUSY')) throw error;
        this.retry();
        const running = [...this.#running.values()];
        if (running.length > 0) await Promise.race(running.map(({ ended }) => ended));
        // The copy for which it was refused may have ended while the refusal was on its way.
        else if (this.#endedCount === endedBefore) throw error;
      }
    }
  }

  /** Runs work while no copy of these machines runs; those that do are stopped, and go on after it. */
  async whileStopped<T>(machineIds: readonly MachineId[], work: () => Promise<T>): Promise<T> {
    for (const machineId of machineIds) this.#stopped.add(machineId);
    try {
      const stopping = machineIds.flatMap((machineId) => {
        const job = this.#running.get(machineId);
        if (job === undefined) return [];
        this.#setQueue(machineId, [job.pointId, ...(this.#waiting.get(machineId) ?? [])]);
        job.abort.abort();
        return [job.ended];
      });
      await Promise.all(stopping);
      return await work();
    } finally {
      for (const machineId of machineIds) this.#stopped.delete(machineId);
      this.retry();
    }
  }

  /** Stops everything; what is left goes on when the store is opened again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const jobs = [...this.#running.values()];
    for (const { abort } of jobs) abort.abort();
    for (const pointId of this.#waiters.keys())
      this.#settle(pointId, new StillpointError('STORE_CLOSED', 'the store was closed before the point was copied'));
    await Promise.all(jobs.map(({ ended }) => ended));
  }

  #setQueue(machineId: MachineId, queue: PointId[]): void {
    if (queue.length === 0) this.#waiting.delete(machineId);
    else this.#waiting.set(machineId, queue);
  }

  /** Starts the next copy of a machine, if none runs. */
  #next(machineId: MachineId): void {
    const queue = this.#waiting.get(machineId) ?? [];
    const [pointId, ...others] = queue;
    if (pointId === undefined || this.#isClosed || this.#stopped.has(machineId)) return;
    if (this.#running.has(machineId)) return;
    const { engine, catalog } = this.#parts;
    const unavailable = unavailableError(engine, catalog.view, machineId);
    if (unavailable !== null) {
      // They go on when the log is opened.
      for (const each of queue) this.#settle(each, unavailable);
      return;
    }
    this.#setQueue(machineId, others);
    const abort = new AbortController();
    const ended = this.#copy(pointId, abort.signal)
      .then(
        () => true,
        (error: unknown) => {
          this.#failed(machineId, pointId, error, abort.signal);
          return false;
        },
      )
      .then((isDone) => {
        this.#progress.delete(pointId);
        this.#running.delete(machineId);
        this.#endedCount += 1;
        // Others may have waited for this one: a disk of theirs stands on its point.
        if (isDone || abort.signal.aborted) this.retry();
      });
    this.#running.set(machineId, { pointId, abort, ended });
  }

  async #copy(pointId: PointId, signal: AbortSignal): Promise<void> {
    const { engine, catalog, nowMs, onEnd } = this.#parts;
    const { view } = catalog;
    const point = view.point(pointId);
    const machine = point === undefined ? undefined : view.machine(point.machineId);
    const collection = point === undefined ? undefined : view.collection(point.collectionId);
    if (point?.state !== 'cut' || machine === undefined || collection === undefined) return;
    const { createdMs } = point;
    const diskIds = point.disks.filter((disk) => !disk.excluded).map((disk) => disk.id);
    const { disks } = await engine.foldCut(pointId, diskIds, {
      signal,
      onProgress: (progress) => {
        this.#progress.set(pointId, progress);
        for (const { onProgress } of this.#waiters.get(pointId) ?? []) onProgress?.(progress);
      },
    });
    // From the cut, to which nothing had to be read, to when all of it was stored.
    const captured = capturedBy(disks, createdMs, Math.max(createdMs, nowMs()));
    await engine.copy(
      {
        pointId,
        createdMs,
        detail: encodeDetail(machine, collection, point, captured),
        diskIds,
        excludedDiskIds: point.disks.filter((disk) => disk.excluded).map((disk) => disk.id),
      },
      { signal },
    );
    const copied = await engine.withReserve(() =>
      catalog.transact((now) => {
        const current = now.point(pointId);
        // A deletion has begun: its manifest goes again.
        if (current?.state !== 'cut') return { changes: [], result: null };
        const next: PointRecord = { ...moved(current, 'copied'), captured };
        return { changes: [{ put: next }], result: next };
      }),
    );
    if (copied === null) return;
    // Where this fails the next open does it; the log says so to the next write.
    await engine.releaseCut(pointId).catch(() => undefined);
    this.#settle(pointId, null);
    onEnd({ point: copied, reference: view.referenceOf(copied), error: null });
  }

  #failed(machineId: MachineId, pointId: PointId, error: unknown, signal: AbortSignal): void {
    const { view } = this.#parts.catalog;
    const point = view.point(pointId);
    if (signal.aborted || point?.state !== 'cut') return;
    const behind = this.#waiting.get(machineId) ?? [];
    this.#setQueue(machineId, [pointId, ...behind]);
    // An older point is being deleted, or one of another machine is not copied yet: it goes on when that has ended.
    if (isStillpointError(error, 'STORE_BUSY')) return;
    for (const each of [pointId, ...behind]) this.#settle(each, error);
    this.#parts.onEnd({ point, reference: view.referenceOf(point), error });
  }

  /** Answers who waits for a point: with its record, or an error. */
  #settle(pointId: PointId, error: unknown): void {
    const point = this.#parts.catalog.view.point(pointId);
    for (const waiter of this.#waiters.get(pointId) ?? []) {
      if (error === null && point !== undefined) waiter.resolve(point);
      else waiter.reject(error ?? deletedFirst(pointId));
    }
    this.#waiters.delete(pointId);
  }
}

function deletedFirst(pointId: PointId): StillpointError {
  return new StillpointError('POINT_NOT_FOUND', 'the restore point was deleted before it was copied', { pointId });
}
