/**
 * Relief for writers without space: what no point needs is given back, without anybody asking for it.
 *
 * The engine folds by itself what writers owe; what a fold or a deletion leaves to nobody only a collection frees. One begins when a
 * writer was refused, and when a point is deleted while little is free. Rejected: collecting whenever a share of the file system is
 * garbage. Collecting costs reading every map, and whoever has space may choose when.
 */

import type { LivePressure } from '../native/engine.js';
import type { Clock } from '../store/clock.js';

/** What relief stands on. */
export interface ReliefParts {
  readonly clock: Clock;
  readonly pressure: () => LivePressure;
  /** Collects in the background; never rejects. */
  readonly collect: () => Promise<void>;
}

/** After a collection for refused writers the next one waits this many times as long as it took, and at least a moment. */
const restShare = 3;
const restMsMin = 200;

/** The relief of one open store. */
export class Relief {
  readonly #parts: ReliefParts;
  #isRunning = false;
  #isWanted = false;
  #isRefusing = false;
  #restUntilMs = 0;

  constructor(parts: ReliefParts) {
    this.#parts = parts;
  }

  /** A writer got `NO_SPACE`. */
  refused(): void {
    this.#isRefusing = true;
    if (!this.#isRunning && this.#parts.clock.nowMs() >= this.#restUntilMs) this.#begin();
  }

  /** A point is gone: what it alone needed may be what writers wait for. */
  deleted(): void {
    const { availableBytes, debtBytes } = this.#parts.pressure();
    if (!this.#isRefusing && availableBytes >= debtBytes) return;
    if (this.#isRunning) this.#isWanted = true;
    else this.#begin();
  }

  #begin(): void {
    const { clock, collect } = this.#parts;
    const startedMs = clock.nowMs();
    this.#isRunning = true;
    this.#isWanted = false;
    this.#isRefusing = false;
    void collect().then(() => {
      const endedMs = clock.nowMs();
      this.#isRunning = false;
      this.#restUntilMs = endedMs + Math.max(restShare * (endedMs - startedMs), restMsMin);
      if (this.#isWanted) this.#begin();
    });
  }
}
