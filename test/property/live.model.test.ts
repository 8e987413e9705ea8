/**
 * Law: whatever happens to managed disks, each reads back what was written to it, every point gives back every disk of
 * the machine as it was at its cut, copied or not, and diffs lead from any point to the next.
 *
 * On the engine in memory, which keeps whole copies: the law of the control side, and of the model that other engines
 * are compared with.
 */

import * as fc from 'fast-check';
import { describe, it } from 'vitest';

import { createStore, openStore } from '../../src/index.js';
import { liveHistories, memoryEngine, runLiveHistory } from '../../src/testing/index.js';
import { MemoryCatalogs } from '../../src/testing/memory-catalog.js';
import { testSeed } from '../house/seed.js';
import { runs } from '../house/size.js';

describe('a store of managed disks', () => {
  it('agrees with the model after any history', { timeout: 600_000 }, async () => {
    const property = fc.asyncProperty(liveHistories(fc, { sectorsMax: 80 }), async (history) => {
      const catalogs = new MemoryCatalogs();
      const parts = { engine: memoryEngine(), catalog: catalogs.at(() => false) };
      const path = '/stores/live';
      await createStore({ path, chunkBytes: 16_384 }, parts);
      const { store } = await runLiveHistory(history, { open: () => openStore({ path }, parts) });
      await store.close();
    });
    await fc.assert(property, { numRuns: runs(100, 2000), seed: testSeed });
  });
});
