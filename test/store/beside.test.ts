/**
 * Law: calls that may run side by side (docs/concurrency.md) give what each would give alone; and a reader in another
 * handle reads every live point whatever the writer does.
 *
 * On real files and real threads of the engine: two machines captured at once, restores, reads and diffs meanwhile,
 * deletions and collections in between.
 */

import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createStore, isStillpointError, openStore, type Store } from '../../src/index.js';
import { contentBytes, sameBytes } from '../../src/testing/index.js';
import { runs } from '../house/size.js';

const chunkBytes = 16_384;
const machines = ['web1', 'db1'];
let folder: string;
const at = (name: string): string => path.join(folder, name);

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-beside-'));
  await createStore({ path: at('store'), chunkBytes });
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** A disk of forty chunks, of which a third follows from the number. */
function diskOf(machine: string, number: number): Uint8Array {
  const bytes = new Uint8Array(40 * chunkBytes + 512);
  for (let chunk = 0; chunk < 40; chunk += 1) {
    const seed = chunk % 3 === 0 ? 1000 * chunk + 10 * number + machine.length : chunk;
    bytes.set(contentBytes({ kind: chunk % 2 === 0 ? 'random' : 'text', seed }, chunkBytes), chunk * chunkBytes);
  }
  return bytes;
}

async function capture(store: Store, machine: string, number: number): Promise<void> {
  await writeFile(at(`${machine}.raw`), diskOf(machine, number));
  for (;;) {
    try {
      await store.capture(machine, { name: `rp${number}` });
      return;
    } catch (error) {
      if (!isStillpointError(error, 'SOURCE_NOT_STILL')) throw error; // written a moment ago: once more
    }
  }
}

async function withMachines(store: Store): Promise<void> {
  for (const machine of machines) {
    await writeFile(at(`${machine}.raw`), diskOf(machine, 0));
    await store.createVirtualMachine({ name: machine, disks: [{ role: 'os', external: at(`${machine}.raw`) }] });
    await capture(store, machine, 0);
  }
}

async function readsBack(store: Store, machine: string, number: number): Promise<void> {
  const expected = diskOf(machine, number);
  const found = await store.read(`${machine}/rp${number}`, { disk: 'os', offset: 0, length: expected.length });
  sameBytes(found, expected, `${machine}/rp${number}`);
}

describe('calls side by side', () => {
  it('of captures, restores, reads, diffs, deletions and collections agree with what each would do alone', async () => {
    await using store = await openStore({ path: at('store') });
    await withMachines(store);
    const rounds = runs(6, 60);
    let isDone = false;
    const captures = machines.map(async (machine) => {
      for (let number = 1; number <= rounds; number += 1) {
        await capture(store, machine, number);
        await readsBack(store, machine, number);
        if (number > 1) await store.deletePoint(`${machine}/rp${number - 1}`);
      }
    });
    const reads = machines.map(async (machine, index) => {
      for (let number = 0; !isDone; number += 1) {
        await readsBack(store, machine, 0);
        const to = at(`restored-${index}-${number}`);
        await store.restore(`${machine}/rp0`, { disk: 'os', to, sync: false });
        sameBytes(await readFile(to), diskOf(machine, 0), `${machine}/rp0, restored`);
        await rm(to);
        for await (const extent of store.diff('web1/rp0', 'db1/rp0', { disk: 'os', granularity: 512 })) {
          expect(extent.length).toBeGreaterThan(0);
        }
      }
    });
    const collecting = async (): Promise<void> => {
      while (!isDone) await store.collect();
    };
    const others = [...reads, collecting()];
    try {
      await Promise.all(captures);
    } finally {
      isDone = true;
      await Promise.allSettled(others);
    }
    await Promise.all(others);
    for (const machine of machines) for (const number of [0, rounds]) await readsBack(store, machine, number);
    await store.collect();
    expect((await store.verify({ readData: true })).findings).toEqual([]);
  });

  it('of a writer and a reader without the lock: live points read, and nothing is taken for damage', async () => {
    await using writer = await openStore({ path: at('store') });
    await withMachines(writer);
    await capture(writer, 'web1', 1);
    await using reader = await openStore({ path: at('store'), readOnly: true });
    expect(reader.findings).toEqual([]);
    await writer.deletePoint('web1/rp0');
    expect((await writer.collect()).packsRewritten).toBeGreaterThan(0);
    await capture(writer, 'db1', 2);

    await readsBack(reader, 'web1', 1);
    await readsBack(reader, 'db1', 0);
    await reader.restore('web1/rp1', { disk: 'os', to: at('restored'), sync: false });
    sameBytes(await readFile(at('restored')), diskOf('web1', 1), 'web1/rp1, restored');
    expect((await reader.verify({ readData: true })).findings).toEqual([]);
    await using later = await openStore({ path: at('store'), readOnly: true });
    await readsBack(later, 'db1', 2);
  });
});

describe('a store that was full', () => {
  it('is hardly larger than an empty one when all points are deleted and collected', async () => {
    // All of it, the catalog too.
    const bytesOf = async (): Promise<number> => {
      const names = await readdir(at('store'), { recursive: true });
      const found = await Promise.all(names.map((name) => stat(at(`store/${name}`))));
      return found.reduce((sum, each) => sum + (each.isFile() ? each.size : 0), 0);
    };
    await using store = await openStore({ path: at('store') });
    const empty = await bytesOf();
    await withMachines(store);
    for (let number = 1; number < 12; number += 1) await capture(store, 'web1', number);
    const peak = await bytesOf();
    for (const { reference } of await store.restorePoints()) await store.deletePoint(reference);
    await store.collect();

    expect(peak).toBeGreaterThan(1 << 20);
    expect(await bytesOf()).toBeLessThanOrEqual(empty + peak / 100 + (1 << 18));
  });
});
