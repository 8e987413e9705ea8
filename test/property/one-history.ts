/** One arbitrary history for a seed: shrunk and printed as a script when it fails. */

import * as fc from 'fast-check';

import { describeHistory, diskHistories, type History, type HistoryOptions } from '../../src/testing/index.js';

/** Checks the history of a seed; a failing one is shrunk, and the smallest is the message. */
export async function oneHistory(
  seed: number,
  bounds: HistoryOptions,
  check: (history: History) => Promise<void>,
): Promise<void> {
  const property = fc.asyncProperty(diskHistories(fc, bounds), async (history) => {
    await check(history).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${describeHistory(history)}`, { cause: error });
    });
  });
  await fc.assert(property, { seed, numRuns: 1 });
}
