/**
 * A fair gate between many that may run side by side and one that must run alone.
 *
 * Shared: captures, deletions, restores, reads, diffs, verifications. Exclusive: collect. Whoever comes is let in in
 * the order of arrival: a waiting exclusive holds back the shared ones that come after it, so it cannot starve, and
 * they are let in together once it has left. A waiter leaves the queue when its signal aborts.
 */

import { StillpointError } from '../store/errors.js';

/** How a caller wants to be inside. */
export type Passage = 'shared' | 'exclusive';

/** Leaves the gate; further calls do nothing. */
export type Leave = () => void;

interface Waiter {
  readonly passage: Passage;
  readonly admit: () => void;
}

/** The error of a call whose signal was aborted. */
export function cancelled(signal: AbortSignal): StillpointError {
  return new StillpointError('CANCELLED', 'the call was cancelled', {}, signal.reason);
}

/** The gate of one open store. */
export class Gate {
  #sharedCount = 0;
  #isExclusive = false;
  readonly #waiters: Waiter[] = [];

  /** Resolves once the caller is inside. Errors: `CANCELLED`. */
  enter(passage: Passage, signal?: AbortSignal): Promise<Leave> {
    if (signal?.aborted === true) return Promise.reject(cancelled(signal));
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        passage,
        admit: () => {
          signal?.removeEventListener('abort', giveUp);
          resolve(this.#leaver(passage));
        },
      };
      const giveUp = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        if (signal !== undefined) reject(cancelled(signal));
        // The one that gave up may have been all that held the others back.
        this.#admitAll();
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      this.#waiters.push(waiter);
      this.#admitAll();
    });
  }

  /** Runs work inside the gate. */
  async run<T>(passage: Passage, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const leave = await this.enter(passage, signal);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  #leaver(passage: Passage): Leave {
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      if (passage === 'exclusive') this.#isExclusive = false;
      else this.#sharedCount -= 1;
      this.#admitAll();
    };
  }

  #admitAll(): void {
    for (let next = this.#waiters[0]; next !== undefined && this.#mayEnter(next.passage); next = this.#waiters[0]) {
      this.#waiters.shift();
      if (next.passage === 'exclusive') this.#isExclusive = true;
      else this.#sharedCount += 1;
      next.admit();
    }
  }

  #mayEnter(passage: Passage): boolean {
    return !this.#isExclusive && (passage === 'shared' || this.#sharedCount === 0);
  }
}
