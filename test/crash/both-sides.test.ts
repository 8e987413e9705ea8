/**
 * Law: wherever the machine stops during captures, deletions and collections, on the engine's side or the catalog's, and
 * whatever the medium keeps of what either had not synced, after the next open every acknowledged point reads back, every
 * acknowledged deletion holds, the call that was running is whole or undone, nothing is damaged, and work goes on.
 *
 * Method: the real coordinator and the real engine over a file system in memory, beside a catalog over a medium that
 * loses what was not synced. A fixed history is stopped at each I/O call of the engine and at each step of the catalog;
 * a stop on one side is one on the other. From some states the recovery is stopped again.
 */

import { describe, expect, it } from 'vitest';

import { createStore, openStore, type Parts, type Store } from '../../src/index.js';
import type { Engine, EngineFactory } from '../../src/native/engine.js';
import { contentBytes, World } from '../../src/testing/index.js';
import { SimulatedStorage, type Kept } from '../catalog/simulated-storage.js';
import { overSeeds } from '../house/seed-range.js';
import { runs } from '../house/size.js';

const storePath = '/store';
const roles = ['os', 'data'];
const chunkBytes = 16384;

/** What each side's medium keeps: what belongs together, and what does not. */
const media: readonly (readonly [Parameters<World['crash']>[0], Kept])[] = [
  ['loseUnsynced', 'nothing'],
  ['keepAll', 'everything'],
  ['seeded', 'a part'],
  ['loseUnsynced', 'everything'],
  ['keepAll', 'nothing'],
];

/** Contents of the disks of a point, by role. */
type Point = Readonly<Record<string, Uint8Array>>;
type Points = Readonly<Record<string, Point>>;

function disk(seed: number): Uint8Array {
  const bytes = new Uint8Array(9 * chunkBytes + 512);
  for (let chunk = 0; chunk < 10; chunk += 1) {
    // Of three chunks one follows from the seed, the others stay as they are.
    const kind = chunk % 2 === 0 ? 'random' : 'frame';
    const content = contentBytes({ kind, seed: chunk % 3 === 0 ? seed : 50 + chunk }, chunkBytes);
    bytes.set(content.subarray(0, bytes.length - chunk * chunkBytes), chunk * chunkBytes);
  }
  return bytes;
}

/** Both sides of a store, stopped together. */
class Machine {
  readonly world: World;
  readonly storage: SimulatedStorage;
  /** Steps of the catalog so far; the machine stops at the one numbered `stopAt`. */
  steps = 0;
  stopAt = Number.POSITIVE_INFINITY;
  #hasStopped = false;

  constructor(world: World, storage: SimulatedStorage) {
    this.world = world;
    this.storage = storage.copy(() => {
      this.steps += 1;
      if (this.steps >= this.stopAt) this.#hasStopped = true;
      if (this.hasStopped) throw new Error('the machine has stopped');
    });
  }

  get hasStopped(): boolean {
    return this.#hasStopped || this.world.hasCrashed;
  }

  /** This machine once more, with what the media kept. */
  restarted(choice: Parameters<World['crash']>[0], kept: Kept, seed: number): Machine {
    const machine = new Machine(this.world.crash(choice, seed), this.storage);
    machine.storage.restart(kept);
    return machine;
  }

  /** Where a store of this machine is opened. After the machine has stopped, neither side does anything. */
  parts(): Parts {
    const parts = this.world.parts();
    const { engine } = parts;
    if (engine === undefined) throw new Error('a world has an engine');
    const factory: EngineFactory = {
      create: (request) => engine.create(request),
      open: async (request) => this.#stopping(await engine.open(request)),
    };
    return { ...parts, engine: factory, catalog: () => this.storage };
  }

  #stopping(engine: Engine): Engine {
    return new Proxy(engine, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          const isStopped = this.hasStopped && name !== 'close' && name !== 'liftLimits'; // those end what runs here
          return isStopped ? Promise.reject(new Error('the machine has stopped')) : Reflect.apply(value, target, args);
        };
      },
    });
  }
}

interface Step {
  readonly call: (store: Store, world: World) => Promise<unknown>;
  /** The points when it is done. */
  readonly points: (before: Points) => Points;
}

function install(world: World, role: string, seed: number): void {
  world.installFile(`/images/${role}`, disk(seed));
}

function captures(name: string, seed: number, exclude: readonly string[] = []): Step {
  const kept = roles.filter((role) => !exclude.includes(role));
  return {
    call: (store, world) => {
      for (const role of roles) install(world, role, seed + roles.indexOf(role));
      return store.capture('web1', { name, exclude: [...exclude] });
    },
    points: (before) => ({
      ...before,
      [name]: Object.fromEntries(kept.map((role) => [role, disk(seed + roles.indexOf(role))])),
    }),
  };
}

function deletes(name: string): Step {
  return {
    call: (store) => store.deletePoint(`web1/${name}`),
    points: (before) => Object.fromEntries(Object.entries(before).filter(([each]) => each !== name)),
  };
}

/** Collects; `count` says what it must do for the history to be what its name says. */
function collects(count: 'packsRewritten' | 'packsRemoved'): Step {
  return {
    call: async (store) => {
      const report = await store.collect();
      expect(report[count]).toBeGreaterThan(0);
    },
    points: (before) => before,
  };
}

const histories: Readonly<Record<string, readonly Step[]>> = {
  capture: [captures('rp1', 10), captures('rp2', 20, ['data'])],
  delete: [deletes('rp0')],
  'collect that rewrites': [deletes('base'), collects('packsRewritten')],
  'collect that removes all': [deletes('base'), deletes('rp0'), collects('packsRemoved')],
};

const before: Points = [captures('base', 1), captures('rp0', 4)].reduce<Points>(
  (points, step) => step.points(points),
  {},
);

/** A machine with a store of two points, closed. */
async function prepared(seed: number): Promise<Machine> {
  const machine = new Machine(World.create({ seed }), new SimulatedStorage());
  await createStore({ path: storePath, chunkBytes }, machine.parts());
  await using store = await openStore({ path: storePath }, machine.parts());
  for (const role of roles) install(machine.world, role, 0);
  const disks = roles.map((role) => ({ role, external: `/images/${role}` }));
  await store.createVirtualMachine({ name: 'web1', disks });
  for (const step of [captures('base', 1), captures('rp0', 4)]) await step.call(store, machine.world);
  return machine;
}

/** Runs a history until the machine stops; which points are certain, and what else may be. */
async function run(machine: Machine, history: readonly Step[]): Promise<readonly Points[]> {
  let points = before;
  let store: Store | null = null;
  try {
    store = await openStore({ path: storePath }, machine.parts());
    for (const step of history) {
      const after = step.points(points);
      try {
        await step.call(store, machine.world);
      } catch (error) {
        if (!machine.hasStopped) throw error;
        return [points, after];
      }
      points = after;
    }
    return [points];
  } catch (error) {
    if (!machine.hasStopped) throw error;
    return [points];
  } finally {
    await store?.close().catch(() => undefined);
  }
}

async function pointsOf(store: Store): Promise<Points> {
  const points: Record<string, Point> = {};
  for (const { name, reference, disks, state } of await store.restorePoints()) {
    expect(state).toBe('copied');
    const contents: Record<string, Uint8Array> = {};
    for (const { role, excluded, sizeBytes } of disks) {
      if (!excluded) contents[role] = await store.read(reference, { disk: role, offset: 0, length: sizeBytes });
    }
    points[name] = contents;
  }
  return points;
}

const isEqual = (left: Points, right: Points): boolean => {
  const spelled = (points: Points): string =>
    Object.entries(points)
      .flatMap(([name, disks]) =>
        Object.entries(disks).map(([role, bytes]) => `${name} ${role} ${Buffer.from(bytes).toString('latin1')}`),
      )
      .sort()
      .join('\n');
  return spelled(left) === spelled(right);
};

/** Opens what is left and compares; then works on. */
async function check(machine: Machine, allowed: readonly Points[], what: string): Promise<void> {
  const store = await openStore({ path: storePath }, machine.parts());
  const said = store.findings.filter(
    ({ code, message }) => code !== 'WORK_INTERRUPTED' && !message.includes('torn by a crash'),
  );
  expect(said, what).toEqual([]);
  const found = await pointsOf(store);
  const names = Object.keys(found).join(', ');
  expect(
    allowed.some((points) => isEqual(points, found)),
    `${what}: there are ${names || 'no points'}`,
  ).toBe(true);
  expect((await store.verify({ readData: true })).findings, what).toEqual([]);
  expect((await store.status()).work, what).toEqual([]);
  const later = captures('later', 30);
  await later.call(store, machine.world);
  await store.collect();
  expect((await store.verify({ readData: true })).findings, `${what}, and more work`).toEqual([]);
  expect(isEqual(await pointsOf(store), later.points(found)), `${what}, and more work`).toBe(true);
  await store.close();
}

/** Where a run may be stopped: at a call of the engine, or a step of the catalog. */
type Stop = { readonly call: number } | { readonly step: number };

async function stopsOf(base: Machine, history: readonly Step[]): Promise<Stop[]> {
  const machine = base.restarted('processKilled', 'everything', 0);
  await run(machine, history);
  const calls = machine.world.counts().calls;
  return [
    ...Array.from({ length: calls }, (_, call): Stop => ({ call })),
    ...Array.from({ length: machine.steps }, (_, step): Stop => ({ step: step + 1 })),
  ];
}

function plan(machine: Machine, stop: Stop, tornSeed: number): void {
  if ('call' in stop) machine.world.plan([{ kind: 'crash', at: stop.call, tornSeed }]);
  else machine.stopAt = stop.step;
}

describe('a machine that stops at any call of the engine or step of the catalog', () => {
  it.each(Object.keys(histories))('during %s loses nothing acknowledged', { timeout: 7_200_000 }, async (name) => {
    const history = histories[name] ?? [];
    const states = new Set<string>();
    const suite = `both-sides-${name.replaceAll(' ', '-')}`;
    const every = runs(9, 1);
    await overSeeds({ suite, quick: 1, full: 3 }, async (seed) => {
      const base = await prepared(seed);
      const earlier = states.size;
      let cuts = 0;
      for (const [index, stop] of (await stopsOf(base, history)).entries()) {
        if ((index + seed) % every !== 0) continue;
        const machine = base.restarted('processKilled', 'everything', 0);
        plan(machine, stop, seed * 1000 + index);
        const allowed = await run(machine, history);
        expect(machine.hasStopped, `at ${JSON.stringify(stop)}`).toBe(true);
        for (const [choice, kept] of media) {
          const what = `${name}, stopped at ${JSON.stringify(stop)}, ${choice} and ${kept} kept, seed ${seed}`;
          const after = machine.restarted(choice, kept, seed + index);
          states.add(after.world.digest() + after.storage.digest());
          cuts += 1;
          // Stopped once more while it recovers, and what that leaves.
          const again = after.restarted('processKilled', 'everything', 0);
          plan(again, index % 2 === 0 ? { call: index % 40 } : { step: 1 + (index % 8) }, index);
          await run(again, []);
          const second = again.restarted(choice, kept, index);
          states.add(second.world.digest() + second.storage.digest());
          await check(second, allowed, `${what}, and again while it was opened`);
          await check(after, allowed, what);
        }
      }
      return { cuts, 'distinct crash states': states.size - earlier };
    });
  });
});
