/**
 * Law: whatever happens to the disks, every point gives back every disk as it was, and diffs lead from any version to
 * any other; and whenever the machine stops, what was acknowledged is there after the next open.
 *
 * On a simulated world: the real engine over a file system in memory.
 */

import { describe, it } from 'vitest';

import { openStore, type Store } from '../../src/index.js';
import { checkStore, historyMachine, runHistory, World, type History } from '../../src/testing/index.js';
import { overSeeds } from '../house/seed-range.js';
import { oneHistory, settingOf } from './one-history.js';
import { storePath, worldStage } from './world-stage.js';

const choices = ['processKilled', 'loseUnsynced', 'keepAll', 'seeded'] as const;

/** Calls of an open with a capture after it: the crash is drawn among more than that, so some captures survive. */
const callsMax = 150;

describe('a store in a simulated world', () => {
  it('agrees with the model after any history', { timeout: 3_600_000 }, async () => {
    await overSeeds({ suite: 'model-simulated', quick: 80, full: 2000 }, async (seed) => {
      const setting = settingOf(seed, 50);
      let operations = 0;
      await oneHistory(seed, setting.bounds, async (history) => {
        operations = history.actions.length;
        const { store } = await runHistory(history, await worldStage(World.create({ seed }), setting));
        await store.close();
      });
      return { histories: 1, operations };
    });
  });

  it('has every acknowledged point after a power cut at any call', { timeout: 3_600_000 }, async () => {
    const states = new Set<string>();
    await overSeeds({ suite: 'power-cut-simulated', quick: 60, full: 2000 }, async (seed) => {
      const before = states.size;
      await oneHistory(seed, { sectorsMax: 200, actionsMax: 25 }, (history) => survives(history, seed, states));
      return { cuts: choices.length, 'distinct crash states': states.size - before };
    });
  });
});

async function survives(history: History, seed: number, states: Set<string>): Promise<void> {
  const world = World.create({ seed });
  const { store, model } = await runHistory(history, await worldStage(world));
  await store.close();
  await captureAndStop(world, (seed * 7919) % callsMax, seed);

  for (const choice of choices) {
    const after = world.crash(choice, seed);
    states.add(after.digest());
    const reopened = await openStore({ path: storePath }, after.parts());
    const names = (await reopened.restorePoints(historyMachine)).map(({ name }) => name);
    if (names.includes(unanswered)) await reopened.deletePoint(`${historyMachine}/${unanswered}`);
    await checkStore(reopened, historyMachine, model).catch((error: unknown) => {
      throw new Error(`${String(error)} after ${choice}\n${world.log()}`, { cause: error });
    });
    await reopened.close();
  }
}

/** The point whose capture the machine does not survive, unless it is over before. */
const unanswered = 'unanswered';

async function captureAndStop(world: World, at: number, tornSeed: number): Promise<void> {
  world.plan([{ kind: 'crash', at, tornSeed }]);
  let store: Store | null = null;
  try {
    store = await openStore({ path: storePath }, world.parts());
    await store.capture(historyMachine, { name: unanswered });
  } catch (error) {
    if (!world.hasCrashed) throw error;
  } finally {
    await store?.close().catch(() => undefined);
    world.plan([]);
  }
}
