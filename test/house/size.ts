/**
 * The two sizes of every suite: the same code with smaller and larger counts.
 *
 * `npm test` is quick; `npm run test:full` sets STILLPOINT_TEST_SIZE=full, which the Rust tests read too.
 */

import process from 'node:process';

export type TestSize = 'quick' | 'full';

/** The size of this run. */
export const testSize: TestSize = process.env['STILLPOINT_TEST_SIZE'] === 'full' ? 'full' : 'quick';

/** How many runs, rounds or cases: the first number in a quick run, the second in a full one. */
export function runs(quick: number, full: number): number {
  return testSize === 'full' ? full : quick;
}
