/** The two clocks that commands look at: the time of day, and one to measure with. */

import { systemClock, type Clock } from '../store/clock.js';

/** Time, injected. */
export interface CommandClock extends Clock {
  /** Milliseconds, with fractions, of a clock that never goes back, from any zero. */
  monotonicMs(): number;
}

/** The machine's clocks. */
export const commandClock: CommandClock = {
  nowMs: () => systemClock.nowMs(),
  // eslint-disable-next-line no-restricted-properties -- the one place in which commands get a clock to measure with
  monotonicMs: () => performance.now(),
};
