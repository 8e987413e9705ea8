/**
 * Which calls of a store run, so that closing can wait for them.
 *
 * A call belongs to the store from its beginning to the end of its promise. Closing turns new calls away first and then
 * waits for those that run.
 */

import { StillpointError } from './errors.js';

/** The calls of one open store. */
export class RunningCalls {
  readonly #running = new Set<Promise<unknown>>();
  #isClosed = false;

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Runs a call. Errors: `STORE_CLOSED`, and what the call rejects with. */
  run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(new StillpointError('STORE_CLOSED', 'the store was closed'));
    const running = call();
    this.#running.add(running);
    const forget = (): void => {
      this.#running.delete(running);
    };
    running.then(forget, forget);
    return running;
  }

  /** Turns new calls away. */
  shut(): void {
    this.#isClosed = true;
  }

  /** Resolves when no call runs any more, whatever became of them. */
  async drained(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }
}
