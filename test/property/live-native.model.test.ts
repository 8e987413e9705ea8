/**
 * Law: as in `live.model.test.ts`, with the engine in Rust on a simulated world: the control side, the catalog and the
 * write logs together.
 */

import * as fc from 'fast-check';
import { describe, it } from 'vitest';

import { openStore } from '../../src/index.js';
import { liveHistories, runLiveHistory, World } from '../../src/testing/index.js';
import { overSeeds } from '../house/seed-range.js';
import { storePath, worldStage } from './world-stage.js';

describe('managed disks in a simulated world', () => {
  it('agree with the model after any history', { timeout: 3_600_000 }, async () => {
    await overSeeds({ suite: 'model-live-simulated', quick: 40, full: 2000 }, async (seed) => {
      const [history] = fc.sample(liveHistories(fc, { sectorsMax: 120, actionsMax: 40 }), { numRuns: 1, seed });
      if (history === undefined) throw new TypeError('a history is drawn');
      const world = World.create({ seed });
      await worldStage(world);
      const stage = { open: () => openStore({ path: storePath }, world.parts()) };
      try {
        const { store } = await runLiveHistory(history, stage);
        await store.close();
      } catch (error) {
        throw new Error(
          `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n${JSON.stringify(history.actions)}\n${world.log()}`,
          { cause: error },
        );
      }
      return { histories: 1, operations: history.actions.length };
    });
  });
});
