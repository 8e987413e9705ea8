/**
 * Law: the statistics are what counting each chunk's owners gives, and what they say that deleting frees is what deleting
 * frees.
 */

import { describe, expect, it } from 'vitest';

import { createStore, openStore, type Store } from '../../src/index.js';
import { seededRandom } from '../../src/testing/random.js';
import { World as Simulated } from '../../src/testing/world.js';
import { runs } from '../house/size.js';
import { storePath, World } from './world.js';

const chunkBytes = 16_384;
const chunksOfDisk = 9;
const machines = ['web1', 'web2', 'web3'];

/** A chunk of the pool: noise that neither compresses nor is like another; 0 is a hole. */
type Content = number;

/** The contents of each machine's points, by reference. */
type Points = Map<string, { readonly machine: string; readonly contents: readonly Content[] }>;

class History {
  readonly world: Simulated;
  readonly points: Points = new Map();
  readonly #random;
  readonly #noise = new Map<Content, Uint8Array>();
  readonly #disks = new Map(machines.map((machine) => [machine, new Array<Content>(chunksOfDisk).fill(0)]));

  constructor(seed: number) {
    this.world = Simulated.create({ seed });
    this.#random = seededRandom(seed);
  }

  below(limit: number): number {
    return new DataView(this.#random.bytes(4).buffer).getUint32(0) % limit;
  }

  async open(): Promise<Store> {
    await createStore({ path: storePath, chunkBytes }, this.world.parts());
    const store = await openStore({ path: storePath }, this.world.parts());
    for (const machine of machines) {
      this.#install(machine);
      await store.createVirtualMachine({ name: machine, disks: [{ role: 'os', external: `/images/${machine}` }] });
    }
    return store;
  }

  async step(store: Store): Promise<void> {
    const machine = machines[this.below(machines.length)] ?? '';
    const disk = this.#disks.get(machine) ?? [];
    const references = [...this.points.keys()];
    const reference = references[this.below(references.length + 1)];
    if (reference !== undefined && this.below(4) === 0) {
      await store.deletePoint(reference);
      this.points.delete(reference);
      if (this.below(2) === 0) await store.collect();
      return;
    }
    for (let change = 0; change < 3; change += 1) disk[this.below(chunksOfDisk)] = this.below(25);
    this.#install(machine);
    const point = await store.capture(machine);
    this.points.set(point.reference, { machine, contents: [...disk] });
  }

  #install(machine: string): void {
    const image = new Uint8Array(chunksOfDisk * chunkBytes);
    (this.#disks.get(machine) ?? []).forEach((content, index) => {
      if (content !== 0) image.set(this.#noiseOf(content), index * chunkBytes);
    });
    this.world.installFile(`/images/${machine}`, image);
  }

  #noiseOf(content: Content): Uint8Array {
    const noise = this.#noise.get(content) ?? seededRandom(1000 + content * 77_777).bytes(chunkBytes);
    this.#noise.set(content, noise);
    return noise;
  }
}

/** Chunks that some points hold and others do not. */
function heldOnlyBy(points: Points, isOne: (reference: string, machine: string) => boolean): number {
  const own = new Set<Content>();
  const others = new Set<Content>();
  for (const [reference, { machine, contents }] of points) {
    for (const content of contents) if (content !== 0) (isOne(reference, machine) ? own : others).add(content);
  }
  return [...own].filter((content) => !others.has(content)).length;
}

const differentIn = (points: Points, isOne: (machine: string) => boolean): number =>
  new Set(
    [...points.values()].filter(({ machine }) => isOne(machine)).flatMap(({ contents }) => contents.filter(Boolean)),
  ).size;

describe('statistics', () => {
  it('of random histories are those of a model that counts owners', async () => {
    for (let seed = 1; seed <= runs(6, 60); seed += 1) {
      const history = new History(seed);
      const store = await history.open();
      for (let step = 0; step < 25; step += 1) await history.step(store);
      const { points: model } = history;

      const { store: all, machines: byMachine, points } = await store.statistics();

      const data = (machine: string): number =>
        [...model.values()]
          .filter((point) => machine === '' || point.machine === machine)
          .reduce((sum, { contents }) => sum + contents.filter(Boolean).length * chunkBytes, 0);
      expect(all).toMatchObject({
        logicalBytes: model.size * chunksOfDisk * chunkBytes,
        dataBytes: data(''),
        distinctBytes: differentIn(model, () => true) * chunkBytes,
        chunks: differentIn(model, () => true),
        missing: 0,
      });
      expect(points.map(({ point }) => point).sort()).toEqual([...model.keys()].sort());
      for (const { point, uniqueBytes, freedBytes } of points) {
        const held = heldOnlyBy(model, (reference) => reference === point);
        expect(uniqueBytes, point).toBe(held * chunkBytes);
        expect(freedBytes, point).toBeGreaterThanOrEqual(uniqueBytes);
      }
      for (const { machine, ...counted } of byMachine) {
        expect(counted, machine).toMatchObject({
          points: [...model.values()].filter((point) => point.machine === machine).length,
          dataBytes: data(machine),
          distinctBytes: differentIn(model, (name) => name === machine) * chunkBytes,
          uniqueBytes: heldOnlyBy(model, (_, name) => name === machine) * chunkBytes,
        });
        expect(counted.storedBytes).toBeGreaterThanOrEqual(counted.freedBytes);
      }

      const [first] = points;
      if (first !== undefined) {
        await store.deletePoint(first.point);
        const deleted = (await store.statistics()).store;
        expect(deleted.garbageBytes).toBe(all.garbageBytes + first.freedBytes);
        expect(deleted.storedBytes).toBe(all.storedBytes - first.freedBytes);
        await store.collect();
        expect((await store.statistics()).store.storedBytes).toBe(deleted.storedBytes);
      }
      await store.close();
    }
  });

  it('of one machine are those of all, without the others', async () => {
    const history = new History(7);
    const store = await history.open();
    for (let step = 0; step < 12; step += 1) await history.step(store);
    const all = await store.statistics();

    const one = await store.statistics({ machine: 'WEB2' });

    expect(one.store).toEqual(all.store);
    expect(one.machines).toEqual(all.machines.filter(({ machine }) => machine === 'web2'));
    expect(one.points).toEqual(all.points.filter(({ machine }) => machine === 'web2'));
    await store.close();
    const look = await openStore({ path: storePath, readOnly: true }, history.world.parts());
    expect(await look.statistics()).toEqual(all);
    await look.close();
  });

  it('of an empty store have no ratios', async () => {
    const store = await new History(1).open();

    expect(await store.statistics()).toMatchObject({
      store: { logicalBytes: 0, storedBytes: 0, garbageBytes: 0, deduplication: null, compression: null },
      machines: machines.map((machine) => ({ machine, points: 0, freedBytes: 0 })),
      points: [],
    });
    await store.close();
  });

  it('refuse what they do not know, and can be cancelled', async () => {
    const { store } = await World.make();
    await store.capture('web1', { name: 'rp1' });
    await expect(store.statistics({ machine: 'web2' })).rejects.toMatchObject({ code: 'MACHINE_NOT_FOUND' });
    await expect(store.statistics({ machine: 3 } as never)).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    await expect(store.statistics({ point: 'rp1' } as never)).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    await expect(store.statistics({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELLED' });

    const { points } = await store.statistics();

    expect(points).toMatchObject([{ point: 'web1/default/rp1', machine: 'web1', logicalBytes: 8192 }]);
  });
});
