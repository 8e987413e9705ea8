/** What a micro bench is: a question, and cases that answer it. */

/** Chunk size of the samples: a store's default. */
export const chunkBytes = 65_536;

/** zstd level of the samples: a store's default. */
export const level = 2;

/** How much is done: enough for a figure, or just enough to see that it runs. */
export interface BenchSize {
  readonly sampleChunks: number;
  /** Chunks of the map that is built. */
  readonly builtMapChunks: number;
  /** Chunks of the maps that are compared, and how many differ. */
  readonly comparedMapChunks: number;
  readonly changedChunks: number;
  /** At least so long and so many times is each case run. */
  readonly timeMs: number;
  readonly iterations: number;
}

/** 4 MiB of sample: more than the inner caches hold, as in a capture. The compared maps are those of 1 TiB. */
export const measuredSize: BenchSize = {
  sampleChunks: 64,
  builtMapChunks: 65_536,
  comparedMapChunks: 16_777_216,
  changedChunks: 1_000,
  timeMs: 1_000,
  iterations: 16,
};

export const smokeSize: BenchSize = {
  sampleChunks: 2,
  builtMapChunks: 200,
  comparedMapChunks: 10_000,
  changedChunks: 50,
  timeMs: 0,
  iterations: 2,
};

export interface MicroCase {
  readonly name: string;
  /** What one operation is: a chunk, a map, a call. */
  readonly unit: string;
  /** Operations of one run; the figures are for one operation. */
  readonly operations: number;
  /** Bytes of one operation, where a rate says something. */
  readonly bytes: number | null;
  /** What one operation should take by the sketch at the top of the bench's file. */
  readonly expectedMicroseconds: number;
  readonly run: () => unknown;
}

export interface OpenSuite {
  readonly cases: readonly MicroCase[];
  /** Removes what the cases needed. */
  readonly close?: () => Promise<void>;
}

export interface Suite {
  readonly name: string;
  readonly question: string;
  readonly open: (size: BenchSize) => OpenSuite | Promise<OpenSuite>;
}
