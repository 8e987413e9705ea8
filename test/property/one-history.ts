/** One arbitrary history for a seed: shrunk and printed as a script when it fails. */

import * as fc from 'fast-check';

import { describeHistory, diskHistories, type History, type HistoryOptions } from '../../src/testing/index.js';

/** How a store is made and how large histories on it are, by seed. */
export interface Setting {
  readonly chunkBytes: number;
  readonly compression: 'zstd' | 'none';
  readonly bounds: HistoryOptions;
}

/** Sectors of 512 bytes of a disk at most, by chunk size: a dozen chunks where chunks are small, some where they are large. */
const sectorsMaxOf: ReadonlyMap<number, number> = new Map([
  [16_384, 400],
  [65_536, 1200],
  [262_144, 2000],
  [1_048_576, 5000],
]);

/** The setting of a seed: mostly the smallest chunks, where most happens; now and then a map of two levels. */
export function settingOf(seed: number, actionsMax: number): Setting {
  const chunkBytes = [16_384, 65_536, 16_384, 262_144, 16_384, 65_536, 16_384, 1_048_576][seed % 8] ?? 16_384;
  const isTall = seed % 16 === 2;
  const sectorsMax = isTall ? 4000 : (sectorsMaxOf.get(chunkBytes) ?? 400);
  const steps = isTall || chunkBytes > 65_536 ? Math.ceil(actionsMax / 2) : actionsMax;
  const compression = seed % 3 === 0 ? 'none' : 'zstd';
  const disksMax = seed % 5 === 0 ? 3 : 2;
  return { chunkBytes, compression, bounds: { sectorsMax, actionsMax: steps, chunkBytes, disksMax } };
}

/** Checks the history of a seed; a failing one is shrunk, and the smallest is the message. */
export async function oneHistory(
  seed: number,
  bounds: HistoryOptions,
  check: (history: History) => Promise<void>,
): Promise<void> {
  // fast-check's first run favours short and small; of all seeds half are to be as long as they may.
  const histories = diskHistories(fc, bounds);
  const property = fc.asyncProperty(seed % 2 === 0 ? fc.noBias(histories) : histories, async (history) => {
    await check(history).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${describeHistory(history)}`, { cause: error });
    });
  });
  await fc.assert(property, { seed, numRuns: 1 });
}
