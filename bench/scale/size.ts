/** How big the scale bench makes things: what the design speaks of, or just enough to see that it runs. */

import type { ScaleFigure } from './figure.js';

export interface ScaleSize {
  /** Ids in the index, and chunks of the maps that are compared. */
  readonly ids: number;
  /** Ids of a small and of a large capture. */
  readonly smallCommit: number;
  readonly largeCommit: number;
  readonly lookups: number;
  readonly changedChunks: number;
  readonly points: number;
  /** Bytes of the sparse disk; less where the file system's files end earlier. */
  readonly sparseBytes: number;
  readonly runs: number;
}

/** 16.8 million ids: 1 TiB of unique chunks of 64 KiB. */
export const measuredSize: ScaleSize = {
  ids: 2 ** 24,
  smallCommit: 10_000,
  largeCommit: 1_000_000,
  lookups: 200_000,
  changedChunks: 1_000,
  points: 500,
  sparseBytes: 2 ** 46,
  runs: 20,
};

export const smokeSize: ScaleSize = {
  ids: 20_000,
  smallCommit: 100,
  largeCommit: 1_000,
  lookups: 500,
  changedChunks: 20,
  points: 3,
  sparseBytes: 2 ** 30,
  runs: 2,
};

export interface ScaleSuite {
  readonly name: string;
  readonly question: string;
  readonly run: (context: ScaleContext) => Promise<readonly ScaleFigure[]>;
}

export interface ScaleContext {
  readonly size: ScaleSize;
  /** An empty directory of the suite's own, removed afterwards. */
  readonly directory: string;
  readonly say: (line: string) => void;
  /** Runs one of `steps.ts` in a process of its own, so that its memory is its own. */
  readonly alone: (step: string, args: readonly string[]) => Promise<StepFigures>;
}

/** What a step in a process of its own took. */
export interface StepFigures {
  readonly milliseconds: number;
  /** Anonymous memory after the step, less that before. */
  readonly anonymousBytes: number;
  /** Largest resident memory up to the step's end, less the resident memory before. */
  readonly peakBytes: number;
}
