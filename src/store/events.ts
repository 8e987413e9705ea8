/**
 * What an open store tells without being asked: copies that ended, how far writers are ahead, logs that were not closed, logs
 * that take no more writes.
 *
 * A listener is an iterable. What happens while it is not asked waits for it, up to a bound; the oldest goes first.
 */

import type { LivePressure } from '../native/engine.js';
import type { Clock } from './clock.js';
import { wait } from './wait.js';

/** How far writers are ahead of the copies: `high` when more is owed than is free, `full` when nothing is free. */
export type PressureLevel = 'normal' | 'high' | 'full';

/** A write log that takes no writes, or could not be opened. */
export interface FailedLog {
  readonly logId: string;
  /** Name of the machine; null for a detached disk's log, and for one that the catalog does not know. */
  readonly machine: string | null;
  /** Name of the detached disk. */
  readonly disk: string | null;
  /** `LOG_FENCED`: it takes no more writes and can be read; else what opening it failed with. */
  readonly code: string;
  readonly message: string;
}

/** Something that happened. */
export type StoreEvent =
  | {
      readonly kind: 'unclean';
      /** Name of the machine; null for a detached disk's log, and for one that the catalog does not know. */
      readonly machine: string | null;
      readonly logId: string;
      readonly durableLsn: string;
      readonly droppedRecords: number;
      readonly droppedBytes: number;
      readonly lastTimeMs: number | null;
    }
  | {
      readonly kind: 'copied';
      /** `VM/COLLECTION/POINT`. */
      readonly point: string;
    }
  | {
      readonly kind: 'copyFailed';
      readonly point: string;
      /** An error code. */
      readonly code: string;
      readonly message: string;
    }
  | ({
      /** A write log failed; its machine alone waits. The first look tells of those that had failed already. */
      readonly kind: 'logFailed';
    } & FailedLog)
  | ({
      /** It was opened, or is gone. */
      readonly kind: 'logOpened';
    } & Pick<FailedLog, 'logId' | 'machine' | 'disk'>)
  | ({
      readonly kind: 'pressure';
      readonly level: PressureLevel;
      /** When nothing will be free, if it goes on as between the last two looks; null when it does not come nearer. */
      readonly fullInMs: number | null;
    } & LivePressure);

/** Options of `events`. */
export interface EventOptions {
  /** Ends the iteration. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds between looks at pressure and write logs, 10 to 3,600,000. Default 1000. */
  readonly intervalMs?: number | undefined;
}

/** Events that wait for a listener at most. */
const waitingMax = 1000;

class Listener {
  readonly #waiting: StoreEvent[] = [];
  #wake: () => void = () => undefined;
  #isEnded = false;

  tell(event: StoreEvent): void {
    this.#waiting.push(event);
    if (this.#waiting.length > waitingMax) this.#waiting.shift();
    this.#wake();
  }

  end(): void {
    this.#isEnded = true;
    this.#wake();
  }

  async next(): Promise<StoreEvent | null> {
    while (this.#waiting.length === 0 && !this.#isEnded) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#waiting.shift() ?? null;
  }
}

/** The level that figures are at. */
export function levelOf({ debtBytes, availableBytes }: LivePressure): PressureLevel {
  if (availableBytes === 0) return 'full';
  return availableBytes < debtBytes ? 'high' : 'normal';
}

/** What a listener's looks are at. */
export interface StoreLook {
  readonly pressure: () => LivePressure;
  readonly failedLogs: () => readonly FailedLog[];
}

/** The events of one open store. */
export class Events {
  readonly #listeners = new Set<Listener>();
  readonly #earlier: readonly StoreEvent[];
  readonly #clock: Clock;
  readonly #look: StoreLook;

  /** `earlier`: what every listener is told first. */
  constructor(earlier: readonly StoreEvent[], clock: Clock, look: StoreLook) {
    this.#earlier = earlier;
    this.#clock = clock;
    this.#look = look;
  }

  tell(event: StoreEvent): void {
    for (const listener of this.#listeners) listener.tell(event);
  }

  /** Ends all iterations, after what waits for them. */
  close(): void {
    for (const listener of this.#listeners) listener.end();
  }

  async *listen(intervalMs: number, signal: AbortSignal | undefined): AsyncGenerator<StoreEvent, void, undefined> {
    const listener = new Listener();
    const looking = new AbortController();
    const end = (): void => listener.end();
    this.#listeners.add(listener);
    signal?.addEventListener('abort', end, { once: true });
    if (signal?.aborted === true) end();
    for (const event of this.#earlier) listener.tell(event);
    void this.#watch(listener, intervalMs, looking.signal);
    try {
      for (let event = await listener.next(); event !== null; event = await listener.next()) yield event;
    } finally {
      looking.abort();
      signal?.removeEventListener('abort', end);
      this.#listeners.delete(listener);
    }
  }

  /** Tells one listener of every change of the level, the first look included unless it is normal, and of logs that fail. */
  async #watch(listener: Listener, intervalMs: number, signal: AbortSignal): Promise<void> {
    let level: PressureLevel = 'normal';
    let before: { readonly timeMs: number; readonly availableBytes: number } | null = null;
    let failed: readonly FailedLog[] = [];
    while (!signal.aborted) {
      failed = tellOfLogs(listener, failed, this.#look.failedLogs());
      const pressure = this.#look.pressure();
      const now = levelOf(pressure);
      const timeMs = this.#clock.nowMs();
      if (now !== level) {
        const { availableBytes } = pressure;
        const passedMs = before === null ? 0 : timeMs - before.timeMs;
        const takenBytes = before === null ? 0 : before.availableBytes - availableBytes;
        const isComing = passedMs > 0 && takenBytes > 0;
        const fullInMs = isComing ? Math.round((availableBytes * passedMs) / takenBytes) : null;
        listener.tell({ kind: 'pressure', level: now, fullInMs, ...pressure });
        level = now;
      }
      before = { timeMs, availableBytes: pressure.availableBytes };
      await wait(intervalMs, signal);
    }
  }
}

/** Tells of logs that are not in both looks, or fail for another reason now; gives the second look. */
function tellOfLogs(listener: Listener, before: readonly FailedLog[], now: readonly FailedLog[]): readonly FailedLog[] {
  for (const { logId, machine, disk } of before) {
    if (now.every((log) => log.logId !== logId)) listener.tell({ kind: 'logOpened', logId, machine, disk });
  }
  for (const log of now) {
    const isKnown = before.some(({ logId, message }) => logId === log.logId && message === log.message);
    if (!isKnown) listener.tell({ kind: 'logFailed', ...log });
  }
  return now;
}
