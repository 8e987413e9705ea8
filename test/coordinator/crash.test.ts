/**
 * Law: wherever the process ends during captures and deletions, and whatever the medium keeps of what was not synced,
 * after the next open every acknowledged point is there and reads back, every acknowledged deletion holds, the call that
 * was running is whole or undone, and a further capture works.
 *
 * Method: a fixed history over the memory engine and the simulated catalog, run once for each of its steps and each
 * mode of the medium. The same with the catalog lost on top, which rebuilds it.
 */

import { describe, expect, it } from 'vitest';

import type { Store } from '../../src/store/handles.js';
import { isStillpointError } from '../../src/store/errors.js';
import { keptModes, type Kept } from '../catalog/simulated-storage.js';
import { isProcessEnd, listing, World } from '../store/world.js';

type Call = (store: Store, world: World) => Promise<unknown>;

/** The history, each call with the points that are there after it. */
const history: readonly { readonly call: Call; readonly points: readonly string[] }[] = [
  { call: (store) => store.capture('web1', { name: 'rp1' }), points: ['rp1'] },
  {
    call: (store, world) => {
      world.setDisk('os', 2);
      return store.capture('web1', { name: 'rp2', exclude: ['data'] });
    },
    points: ['rp1', 'rp2'],
  },
  { call: (store) => store.deletePoint('web1/rp1'), points: ['rp2'] },
  {
    call: (store, world) => {
      world.setDisk('os', 3);
      return store.capture('web1', { name: 'rp3', collection: 'daily' });
    },
    points: ['rp2', 'rp3'],
  },
];

/** What each point's disk `os` is filled with. */
const contents: Readonly<Record<string, number>> = { rp1: 1, rp2: 2, rp3: 3 };

/** Runs the history until the process ends; how many calls were acknowledged. */
async function run(world: World, store: Store): Promise<number> {
  let acknowledged = 0;
  for (const { call } of history) {
    try {
      await call(store, world);
    } catch (error) {
      expect(world.hasEnded && (isProcessEnd(error) || isStillpointError(error)), String(error)).toBe(true);
      break;
    }
    acknowledged += 1;
  }
  return acknowledged;
}

async function countSteps(): Promise<number> {
  const { world, store } = await World.make();
  world.endAt(Number.POSITIVE_INFINITY);
  expect(await run(world, store)).toBe(history.length);
  return world.steps.length;
}

async function checkAfter(world: World, again: Store, acknowledged: number, at: number): Promise<void> {
  const names = (await listing(again)).map((line) => line.replace(/^web1\/\w+\//, ''));
  const allowed = [acknowledged - 1, acknowledged].map((index) =>
    (history[index]?.points ?? []).map((name) => `${name} copied`),
  );
  expect(allowed, `after step ${at}`).toContainEqual(names);
  for (const point of await again.restorePoints()) {
    const bytes = await again.read(point.reference, { disk: 'os', offset: 0, length: 4096 });
    expect(bytes, `${point.reference} after step ${at}`).toEqual(new Uint8Array(4096).fill(contents[point.name] ?? 0));
  }
  expect(world.manifests, `manifests after step ${at}`).toHaveLength(names.length);
  expect((await again.status()).work).toEqual([]);
  expect(world.storage.fileNames()).toEqual(['catalog.dump', 'catalog.slot-a', 'catalog.slot-b']);
  expect((await again.verify()).findings).toEqual([]);
  expect((await again.capture('web1', { name: 'later' })).state).toBe('copied');
}

describe.each(keptModes)(
  'a process that ends at any step of captures and deletions, %s kept of what was not synced,',
  (kept: Kept) => {
    it('costs no acknowledged call and leaves the running one whole or undone', async () => {
      const steps = await countSteps();
      expect(steps).toBeGreaterThan(40);
      for (let at = 1; at <= steps; at += 1) {
        const { world, store } = await World.make();
        world.endAt(at);
        const acknowledged = await run(world, store);

        const again = await world.restart(kept);

        // A slot may be torn; nothing else of the catalog may have come to harm.
        const damage = again.findings.filter(({ code }) => code === 'CATALOG_DAMAGED').map(({ message }) => message);
        expect(
          damage.filter((message) => !message.includes('torn by a crash')),
          `after step ${at}`,
        ).toEqual([]);
        await checkAfter(world, again, acknowledged, at);
      }
    });

    it('costs no acknowledged call even when the catalog is lost as well', async () => {
      const steps = await countSteps();
      for (let at = 1; at <= steps; at += 1) {
        const { world, store } = await World.make();
        world.endAt(at);
        const acknowledged = await run(world, store);
        world.stop(kept);
        world.storage.records.clear();

        await checkAfter(world, await world.open(), acknowledged, at);
      }
    });

    it('may end again at any step of the recovery', async () => {
      // A capture that stopped between manifest and record, and a deletion that stopped before its manifest went.
      const prepare = async (): Promise<World> => {
        const { world, store } = await World.make();
        await store.capture('web1', { name: 'rp1' });
        world.onEngineStep = (step) => {
          if (step === 'remove-before') world.end();
        };
        await expect(store.deletePoint('web1/rp1')).rejects.toThrow();
        world.onEngineStep = () => undefined;
        world.stop(kept);
        return world;
      };
      const probe = await prepare();
      probe.steps.length = 0;
      expect(await listing(await probe.open())).toEqual([]);
      const steps = probe.steps.length;
      expect(steps).toBeGreaterThan(4);
      for (let at = 1; at <= steps; at += 1) {
        const world = await prepare();
        world.endAt(at);
        await expect(world.open()).rejects.toThrow();

        const again = await world.restart(kept);

        expect(await listing(again), `after step ${at}`).toEqual([]);
        expect(world.manifests).toEqual([]);
      }
    });
  },
);
