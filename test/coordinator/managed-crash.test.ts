/**
 * Law: wherever the process ends while machines with managed disks are made, written, captured, copied, restored and
 * taken apart, and whatever the medium keeps of what was not synced: after the next open every acknowledged call holds,
 * the one that was running is whole or undone, nothing is left half made, and a further capture works.
 *
 * Method: a fixed history over the memory engine and the simulated catalog, run once for each of its steps, with the end
 * of a process and with a power cut; the same with the catalog lost on top.
 */

import { describe, expect, it } from 'vitest';

import type { Store } from '../../src/store/handles.js';
import { isStillpointError } from '../../src/store/errors.js';
import { keptModes, type Kept } from '../catalog/simulated-storage.js';
import { isProcessEnd, World } from '../store/world.js';

/** What a store shows: machines with their disks' roles, disks with size and first byte, points. */
interface Sight {
  readonly machines: readonly string[];
  readonly disks: readonly string[];
  readonly points: readonly string[];
}

type Call = (store: Store, world: World) => Promise<unknown>;

const fill = async (store: Store, name: string, value: number): Promise<void> => {
  const disk = await store.disk(name);
  await disk.write(0, new Uint8Array(disk.info.sizeBytes).fill(value), { fua: true });
};

/** Each call, with what is there after it. */
const history: readonly { readonly call: Call; readonly after: Sight }[] = [
  {
    call: (store) => store.createDisk({ name: 'd1', sizeBytes: 1024 }),
    after: { machines: [], disks: ['d1 - 1024 0'], points: [] },
  },
  {
    call: (store) => store.createVirtualMachine({ name: 'vm', disks: { os: 'd1' } }),
    after: { machines: ['vm os'], disks: ['d1 vm 1024 0'], points: [] },
  },
  {
    call: (store) => fill(store, 'd1', 1),
    after: { machines: ['vm os'], disks: ['d1 vm 1024 1'], points: [] },
  },
  {
    call: (store) => store.capture('vm', { name: 'rp1' }),
    after: { machines: ['vm os'], disks: ['d1 vm 1024 1'], points: ['rp1 1'] },
  },
  {
    call: (store) => fill(store, 'd1', 2),
    after: { machines: ['vm os'], disks: ['d1 vm 1024 2'], points: ['rp1 1'] },
  },
  {
    call: async (store) => (await store.capture('vm', { name: 'rp2' })).copied(),
    after: { machines: ['vm os'], disks: ['d1 vm 1024 2'], points: ['rp1 1', 'rp2 2'] },
  },
  {
    call: (store) => store.restoreToMachine('vm/rp1', { name: 'vm2' }),
    after: { machines: ['vm os', 'vm2 os'], disks: ['d1 vm 1024 2', 'vm2-os vm2 1024 1'], points: ['rp1 1', 'rp2 2'] },
  },
  {
    call: async (store) => (await store.disk('vm2-os')).detach(),
    after: { machines: ['vm os', 'vm2'], disks: ['d1 vm 1024 2', 'vm2-os - 1024 1'], points: ['rp1 1', 'rp2 2'] },
  },
  {
    call: async (store) => (await store.disk('vm2-os')).attach('vm', 'data'),
    after: { machines: ['vm os,data', 'vm2'], disks: ['d1 vm 1024 2', 'vm2-os vm 1024 1'], points: ['rp1 1', 'rp2 2'] },
  },
  {
    call: (store) => store.deleteVirtualMachine('vm2'),
    after: { machines: ['vm os,data'], disks: ['d1 vm 1024 2', 'vm2-os vm 1024 1'], points: ['rp1 1', 'rp2 2'] },
  },
  {
    call: async (store) => (await store.disk('vm2-os')).grow(2048),
    after: { machines: ['vm os,data'], disks: ['d1 vm 1024 2', 'vm2-os vm 2048 1'], points: ['rp1 1', 'rp2 2'] },
  },
  {
    call: (store) => store.deletePoint('vm/rp1'),
    after: { machines: ['vm os,data'], disks: ['d1 vm 1024 2', 'vm2-os vm 2048 1'], points: ['rp2 2'] },
  },
  {
    call: async (store) => (await store.disk('vm2-os')).detach(),
    after: { machines: ['vm os'], disks: ['d1 vm 1024 2', 'vm2-os - 2048 1'], points: ['rp2 2'] },
  },
  {
    call: async (store) => (await store.disk('vm2-os')).delete(),
    after: { machines: ['vm os'], disks: ['d1 vm 1024 2'], points: ['rp2 2'] },
  },
  {
    call: async (store) => {
      await fill(store, 'd1', 3);
      await store.restoreInPlace('vm/rp2');
      await (await store.disk('d1')).flush();
    },
    after: { machines: ['vm os'], disks: ['d1 vm 1024 2'], points: ['rp2 2'] },
  },
];

const empty: Sight = { machines: [], disks: [], points: [] };

/** States in the middle of calls that are several: the last one writes before it restores. */
const between: readonly Sight[] = [{ machines: ['vm os'], disks: ['d1 vm 1024 3'], points: ['rp2 2'] }];

async function seen(store: Store): Promise<Sight> {
  const disks: string[] = [];
  for (const { name, machine, sizeBytes } of await store.disks()) {
    const [byte] = await (await store.disk(name)).read(0, 512);
    disks.push(`${name} ${machine ?? '-'} ${sizeBytes} ${String(byte)}`);
  }
  const points: string[] = [];
  for (const { reference, name, state } of await store.restorePoints()) {
    if (state === 'failed') continue; // nobody was answered
    const [byte] = await store.read(reference, { disk: 'os', offset: 0, length: 1 });
    points.push(`${name} ${String(byte)}`);
  }
  const machines = (await store.virtualMachines()).map(({ name, disks: own }) =>
    `${name} ${own.map(({ role }) => role).join()}`.trim(),
  );
  return { machines, disks, points };
}

/** Runs the history until the process ends; how many calls were acknowledged. */
async function run(world: World, store: Store): Promise<number> {
  let acknowledged = 0;
  for (const { call } of history) {
    try {
      await call(store, world);
    } catch (error) {
      expect(world.hasEnded && (isProcessEnd(error) || isStillpointError(error)), String(error)).toBe(true);
      return acknowledged;
    }
    acknowledged += 1;
  }
  return acknowledged;
}

async function begun(at: number): Promise<{ world: World; store: Store }> {
  const world = await World.empty();
  const store = await world.open();
  world.endAt(at);
  return { world, store };
}

async function countSteps(): Promise<number> {
  const { world, store } = await begun(Number.POSITIVE_INFINITY);
  expect(await run(world, store)).toBe(history.length);
  expect(await seen(store)).toEqual(history.at(-1)?.after);
  return world.steps.length;
}

async function checkAfter(world: World, store: Store, acknowledged: number, at: number): Promise<void> {
  const allowed = [acknowledged - 1, acknowledged].map((index) => history[index]?.after ?? empty);
  if (acknowledged >= history.length - 1) allowed.push(...between);
  expect(allowed, `after step ${at}, ${acknowledged} calls acknowledged`).toContainEqual(await seen(store));
  const failed = (await store.restorePoints()).filter(({ state }) => state === 'failed');
  for (const { reference } of failed) await store.deletePoint(reference);
  const [machine] = await store.virtualMachines();
  if (machine !== undefined && machine.disks.length > 0) {
    const point = await store.capture(machine.name, { name: 'later' });
    expect((await point.copied()).state).toBe('copied');
    const { points } = await store.status();
    await expect.poll(() => [world.manifests.length, world.cuts.length]).toEqual([points, 0]);
  }
  await store.close();
  expect((await world.open()).findings, `findings of a second open after step ${at}`).toEqual([]);
}

describe.each(keptModes)(
  'a process with live disks that ends at any step, %s kept of what was not synced,',
  (kept: Kept) => {
    it('costs no acknowledged call and leaves the running one whole or undone', async () => {
      const steps = await countSteps();
      expect(steps).toBeGreaterThan(200);
      for (let at = 1; at <= steps; at += 1) {
        const { world, store } = await begun(at);
        const acknowledged = await run(world, store);

        await checkAfter(world, await world.restart(kept), acknowledged, at);
      }
    });

    it('costs no acknowledged call even when the catalog is lost as well', async () => {
      const steps = await countSteps();
      for (let at = 1; at <= steps; at += 1) {
        const { world, store } = await begun(at);
        const acknowledged = await run(world, store);
        world.stop(kept);
        world.storage.records.clear();

        await checkAfter(world, await world.open(), acknowledged, at);
      }
    });

    it('may end again at any step of the recovery', async () => {
      // Stopped in the middle of making a machine from a point, which leaves most to be undone.
      const prepare = async (): Promise<World> => {
        const { world, store } = await begun(Number.POSITIVE_INFINITY);
        for (const { call } of history.slice(0, 6)) await call(store, world);
        world.onEngineStep = (step) => {
          if (step === 'attach-after') world.end();
        };
        await expect(store.restoreToMachine('vm/rp1', { name: 'vm2' })).rejects.toThrow();
        world.onEngineStep = () => undefined;
        world.stop(kept);
        return world;
      };
      const probe = await prepare();
      probe.steps.length = 0;
      await probe.open();
      const steps = probe.steps.length;
      expect(steps).toBeGreaterThan(10);
      for (let at = 1; at <= steps; at += 1) {
        const world = await prepare();
        world.endAt(at);
        const opening = await world.open().catch(() => null);
        if (opening !== null) continue;

        await checkAfter(world, await world.restart(kept), 6, at);
      }
    });
  },
);
