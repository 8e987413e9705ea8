/** Takes work on one thing one after the other, in the order of the calls; work on different things runs side by side. */

/** The turns of things that a key tells apart. */
export class Turns<K> {
  readonly #tails = new Map<K, Promise<unknown>>();

  /** Runs work when all earlier work on the same thing has ended, whatever became of it. */
  run<T>(key: K, work: () => Promise<T>): Promise<T> {
    const done = (this.#tails.get(key) ?? Promise.resolve()).then(work, work);
    const tail = done
      .catch(() => undefined)
      .then(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key);
      });
    this.#tails.set(key, tail);
    return done;
  }
}
