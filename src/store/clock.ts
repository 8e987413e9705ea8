/** Where the library gets the time from; one of the two places that may ask the machine for it. */

/** The time, as the control side sees it. */
export interface Clock {
  /** Milliseconds since 1970-01-01 UTC, a safe integer. May stand still and, when someone sets the clock, go back. */
  nowMs(): number;
}

/** The machine's clock. */
export const systemClock: Clock = { nowMs: () => Date.now() };
