/**
 * A diff as its caller sees it: lazily opened, gone through once, closed however the iteration ends.
 *
 * While it is open both points can be read, also when they are deleted and collected meanwhile. A diff whose caller stops
 * in the middle without leaving the loop keeps their space, and the engine; closing the store ends it as soon as no step
 * of it runs.
 */

import { cancelled } from '../coordinator/gate.js';
import type { DiffCursor, Extent } from '../native/engine.js';
import type { Diff, DiffHeader } from './handles.js';

/** What a diff needs of its store. */
export interface DiffSource {
  /** Bytes that are compared as one. */
  readonly granularity: number;
  readonly signal: AbortSignal | undefined;
  /** Finds the points and opens the cursor. */
  open(): Promise<DiffCursor>;
  /** Runs a step as a call of the store. */
  run<T>(step: () => Promise<T>): Promise<T>;
  /** Told when the diff holds a cursor, and when no longer. */
  opened(diff: StoreDiff): void;
  ended(diff: StoreDiff): void;
}

/** The diff of an open store. */
export class StoreDiff implements Diff {
  readonly #source: DiffSource;
  #header: Promise<DiffHeader> | null = null;
  #open: DiffCursor | null = null;
  #isTaken = false;
  #isStepping = false;
  #isEnding = false;

  constructor(source: DiffSource) {
    this.#source = source;
  }

  get header(): Promise<DiffHeader> {
    // A cursor of its own, closed at once: otherwise a caller who wants the sizes alone would keep the points' space.
    this.#header ??= this.#source.run(async () => {
      const opened = await this.#source.open();
      try {
        return this.#headerOf(opened);
      } finally {
        opened.close();
      }
    });
    return this.#header;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Extent, void, undefined> {
    if (this.#isTaken) throw new TypeError('a diff can be gone through once; ask the store for another one');
    this.#isTaken = true;
    try {
      for (let page = await this.#page(); page.length > 0; page = await this.#page()) yield* page;
    } finally {
      this.end();
    }
  }

  /** Ends the diff now, or after the step that runs. */
  endWhenIdle(): void {
    this.#isEnding = true;
    if (!this.#isStepping) this.end();
  }

  /** Closes the cursor; nothing happens when there is none. */
  end(): void {
    const opened = this.#open;
    if (opened === null) return;
    this.#open = null;
    opened.close();
    this.#source.ended(this);
  }

  #page(): Promise<readonly Extent[]> {
    return this.#source.run(async () => {
      const { signal } = this.#source;
      if (signal?.aborted === true) throw cancelled(signal);
      this.#isStepping = true;
      try {
        return await (await this.#opened()).next();
      } finally {
        this.#isStepping = false;
        if (this.#isEnding) this.end();
      }
    });
  }

  async #opened(): Promise<DiffCursor> {
    if (this.#open !== null) return this.#open;
    const opened = await this.#source.open();
    this.#open = opened;
    this.#header ??= Promise.resolve(this.#headerOf(opened));
    this.#source.opened(this);
    return opened;
  }

  #headerOf(cursor: DiffCursor): DiffHeader {
    return { sizeBefore: cursor.sizeBefore, sizeAfter: cursor.sizeAfter, granularity: this.#source.granularity };
  }
}
