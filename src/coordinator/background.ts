/** Work that nobody waits for: it is stopped when the store closes, and goes on at the next open. */

/** The background work of one open store. */
export class Background {
  readonly #abort = new AbortController();
  readonly #running = new Set<Promise<void>>();

  /** Runs work; what it rejects with is left to the next open, which decides again. Resolves when it has ended, either way. */
  run(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const running = work(this.#abort.signal).catch(() => undefined);
    this.#running.add(running);
    return running.finally(() => this.#running.delete(running));
  }

  /** Stops everything. */
  async close(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#running);
  }
}
