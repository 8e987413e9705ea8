/**
 * A fair gate: one at a time, in the order of arrival. Collections pass it; everything else runs beside them.
 *
 * A waiter leaves the queue when its signal aborts.
 */

import { StillpointError } from '../store/errors.js';

/** Leaves the gate; further calls do nothing. */
export type Leave = () => void;

/** The error of a call whose signal was aborted. */
export function cancelled(signal: AbortSignal): StillpointError {
  return new StillpointError('CANCELLED', 'the call was cancelled', {}, signal.reason);
}

/** Ends a call whose signal was aborted. Errors: `CANCELLED`. */
export function checkGoing(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw cancelled(signal);
}

/** The gate of one open store. */
export class Gate {
  #isTaken = false;
  readonly #waiters: (() => void)[] = [];

  /** Resolves once the caller is inside. Errors: `CANCELLED`. */
  enter(signal?: AbortSignal): Promise<Leave> {
    if (signal?.aborted === true) return Promise.reject(cancelled(signal));
    return new Promise((resolve, reject) => {
      const admit = (): void => {
        signal?.removeEventListener('abort', giveUp);
        resolve(this.#leaver());
      };
      const giveUp = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(admit), 1);
        if (signal !== undefined) reject(cancelled(signal));
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      this.#waiters.push(admit);
      this.#admitNext();
    });
  }

  /** Runs work inside the gate. */
  async run<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const leave = await this.enter(signal);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  #leaver(): Leave {
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      this.#isTaken = false;
      this.#admitNext();
    };
  }

  #admitNext(): void {
    if (this.#isTaken) return;
    const next = this.#waiters.shift();
    if (next === undefined) return;
    this.#isTaken = true;
    next();
  }
}
