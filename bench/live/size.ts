/** How much the live bench does: enough for figures, or just enough to see that it runs. */

import type { Figure } from '../figure.js';

export interface LiveSize {
  /** 4 KiB writes or reads of one run: less than a log has before it is folded. */
  readonly requests: number;
  /** Bytes of 1 MiB writes of one run, likewise. */
  readonly largeBytes: number;
  /** Windows with cuts, and as many without. */
  readonly windows: number;
  readonly windowMs: number;
  /** Captures whose answers are timed. */
  readonly captures: number;
  /** Bytes written without a pause, past the limit of a log. */
  readonly sustainedBytes: number;
  /** Bytes left in a log that is then opened. */
  readonly replayBytes: number;
  /** Bytes that are read from log and packs. */
  readonly readBytes: number;
  readonly runs: number;
}

const MiB = 2 ** 20;

export const measuredSize: LiveSize = {
  requests: 48_000,
  largeBytes: 192 * MiB,
  windows: 8,
  windowMs: 2_000,
  captures: 60,
  sustainedBytes: 3072 * MiB,
  replayBytes: 192 * MiB,
  readBytes: 256 * MiB,
  runs: 5,
};

export const smokeSize: LiveSize = {
  requests: 400,
  largeBytes: 8 * MiB,
  windows: 1,
  windowMs: 150,
  captures: 2,
  sustainedBytes: 16 * MiB,
  replayBytes: 8 * MiB,
  readBytes: 4 * MiB,
  runs: 1,
};

export interface LiveContext {
  readonly size: LiveSize;
  /** An empty directory of the suite's own, removed afterwards. */
  readonly directory: string;
  readonly say: (line: string) => void;
  /** Leaves a log of so many bytes, written by a process that is killed. */
  readonly leaveLog: (storePath: string, bytes: number) => Promise<void>;
}

export interface LiveSuite {
  readonly name: string;
  readonly question: string;
  readonly run: (context: LiveContext) => Promise<readonly Figure[]>;
}
