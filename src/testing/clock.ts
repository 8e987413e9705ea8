/** A clock that only its test moves. */

import type { Clock } from '../store/clock.js';

/** A clock that stands still until it is told to move. */
export interface ManualClock extends Clock {
  /** Moves the clock on, or back with a negative number. */
  advance(byMs: number): void;
  /** Sets the clock. */
  set(ms: number): void;
}

/** A clock that stands at `startMs` (2026-11-23T04:28:14Z when left out). */
export function manualClock(startMs: number = Date.UTC(2026, 10, 23, 4, 28, 14)): ManualClock {
  let now = startMs;
  return {
    nowMs: () => now,
    advance: (byMs) => {
      now += byMs;
    },
    set: (ms) => {
      now = ms;
    },
  };
}
