/** The open store as its callers see it: reading, diffs, closing, read-only, the files of a real catalog. */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { Extent } from '../../src/native/engine.js';
import type { Diff, Store } from '../../src/store/handles.js';
import { createStore, openStore } from '../../src/store/open.js';
import { memoryEngine } from '../../src/testing/memory-engine.js';
import { held, listing, storePath, World } from './world.js';

async function all(diff: Diff): Promise<Extent[]> {
  const extents: Extent[] = [];
  for await (const extent of diff) extents.push(extent);
  return extents;
}

/** A store with points `a` and `b` whose disk `os` differs in every second unit of 16 KiB. */
async function withDiff(): Promise<{ world: World; store: Store }> {
  const { world, store } = await World.make();
  const bytes = new Uint8Array(16384 * 16).fill(1);
  world.engine.setSource('/images/os.raw', bytes);
  await store.capture('web1', { name: 'a' });
  for (let unit = 0; unit < 16; unit += 2) bytes.fill(unit === 4 ? 0 : 2, unit * 16384, unit * 16384 + 512);
  bytes.fill(0, 4 * 16384, 5 * 16384);
  world.engine.setSource('/images/os.raw', bytes);
  await store.capture('web1', { name: 'b' });
  return { world, store };
}

describe('a diff', () => {
  it('gives all extents over several pages, in order', async () => {
    const { store } = await withDiff();

    const extents = await all(store.diff('web1/a', 'web1/b', { disk: 'os' }));

    expect(extents.map(({ offset }) => offset / 16384)).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
    expect(extents.map(({ kind }) => kind)).toEqual(['data', 'data', 'zero', 'data', 'data', 'data', 'data', 'data']);
    const fine = await all(store.diff('web1/a', 'web1/b', { disk: 'os', granularity: 512 }));
    expect(fine[0]).toEqual({ offset: 0, length: 512, kind: 'data' });
  });

  it('has a header before, during, after and without the iteration', async () => {
    const { store } = await withDiff();
    const header = { sizeBefore: 262144, sizeAfter: 262144, granularity: 16384 };
    const diff = store.diff('web1/a', 'web1/b', { disk: 'os' });
    expect(await diff.header).toEqual(header);
    for await (const { length } of diff) {
      expect(length).toBe(16384);
      expect(await diff.header).toEqual(header);
    }
    expect(await diff.header).toEqual(header);

    await store.diff('web1/a', 'web1/b', { disk: 'os', granularity: 512 }).header;
    expect((await store.collect()).dryRun).toBe(false);
  });

  it('can be gone through once', async () => {
    const { store } = await withDiff();
    const diff = store.diff('web1/a', 'web1/b', { disk: 'os' });
    await all(diff);

    await expect(all(diff)).rejects.toThrow(TypeError);
  });

  it('goes on beside a collect', async () => {
    const { world, store } = await withDiff();
    const order: string[] = [];
    world.onEngineStep = (step) => {
      order.push(step);
    };
    const extents = store.diff('web1/a', 'web1/b', { disk: 'os' })[Symbol.asyncIterator]();
    await extents.next();
    await store.collect();
    order.push('loop left');
    await extents.return?.();

    expect(order).toEqual(['diff', 'diff-page', 'collect', 'loop left']);
  });

  it('compares disks of two machines and two roles', async () => {
    const { world, store } = await withDiff();
    await store.createVirtualMachine({ name: 'web2', disks: [{ role: 'system', external: '/images/os.raw' }] });
    await store.capture('web2', { name: 'c' });

    expect(await all(store.diff('web1/b', 'web2/c', { disk: 'system', diskBefore: 'os' }))).toEqual([]);
    world.setDisk('data', 9);
    expect(await all(store.diff('web1/a', 'web1/b', { disk: 'data' }))).toEqual([]);
  });

  it.each([
    [['web1/a', 'web1/x', 'os'], 'POINT_NOT_FOUND'],
    [['web1/a', 'web1/b', 'swap'], 'DISK_NOT_FOUND'],
    [['web9/a', 'web1/b', 'os'], 'MACHINE_NOT_FOUND'],
  ] as const)('of %j rejects with %s, from header and iteration', async ([before, after, disk], code) => {
    const { store } = await withDiff();

    await expect(all(store.diff(before, after, { disk }))).rejects.toMatchObject({ code });
    await expect(store.diff(before, after, { disk }).header).rejects.toMatchObject({ code });
  });

  it('can be cancelled between two pages', async () => {
    const { store } = await withDiff();
    const stop = new AbortController();
    const seen: Extent[] = [];
    const go = async (): Promise<void> => {
      for await (const extent of store.diff('web1/a', 'web1/b', { disk: 'os', signal: stop.signal })) {
        seen.push(extent);
        stop.abort();
      }
    };

    await expect(go()).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(seen).toHaveLength(4);
    expect((await store.collect()).dryRun).toBe(false);
  });
});

describe('reading', () => {
  it('gives the bytes of the point, not of the image', async () => {
    const { world, store } = await World.make();
    await store.capture('web1', { name: 'a' });
    world.setDisk('os', 9);

    expect(await store.read('web1/a', { disk: 'os', offset: 4094, length: 2 })).toEqual(new Uint8Array([1, 1]));
    await expect(store.read('web1/a', { disk: 'os', offset: 4095, length: 2 })).rejects.toMatchObject({
      code: 'ARGUMENT_INVALID',
    });
  });
});

describe('closing', () => {
  it('waits for what runs, then turns every call away, and may be asked for again', async () => {
    const { world, store } = await World.make();
    const pause = held();
    const begun = held();
    world.onEngineStep = (step) => {
      if (step !== 'scan-before') return undefined;
      begun.release();
      return pause.promise;
    };
    const capture = store.capture('web1', { name: 'rp1' });
    await begun.promise;
    const closing = store.close();
    expect(store.close()).toBe(closing);
    await expect(store.restorePoints()).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    pause.release();

    expect((await capture).state).toBe('copied');
    await closing;
    await expect(store.capture('web1')).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    await expect(store.verify()).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    await expect(all(store.diff('web1/a', 'web1/b', { disk: 'os' }))).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    expect(await listing(await world.open())).toEqual(['web1/default/rp1 copied']);
  });

  it('ends a diff that nobody goes on with, also beside a collect', async () => {
    const { world, store } = await withDiff();
    const extents = store.diff('web1/a', 'web1/b', { disk: 'os' })[Symbol.asyncIterator]();
    for (let index = 0; index < 4; index += 1) await extents.next();
    const collect = store.collect();
    await store.close();

    expect((await collect).dryRun).toBe(false);
    await expect(extents.next()).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    expect((await world.open()).findings).toEqual([]);
  });

  it('happens at the end of an `await using`', async () => {
    const { world, store } = await World.make();
    await store[Symbol.asyncDispose]();

    await (await world.open()).close();
  });
});

describe('a store that is open for reading only', () => {
  it('shows machines and points, reads them, and refuses every change', async () => {
    const { world, store } = await withDiff();
    const points = await store.restorePoints();
    const machines = await store.virtualMachines();

    const look = await world.open(true);

    expect(look.readOnly).toBe(true);
    expect(look.findings).toEqual([]);
    expect(await look.restorePoints()).toEqual(points);
    expect(await look.virtualMachines()).toEqual(machines);
    expect(await all(look.diff('web1/a', 'web1/b', { disk: 'os' }))).toHaveLength(8);
    expect((await look.verify()).findings).toEqual([]);
    const refused = [
      look.createVirtualMachine({ name: 'db', disks: [{ role: 'os', external: '/os.raw' }] }),
      look.updateVirtualMachine('web1', { configuration: 1 }),
      look.deleteVirtualMachine('web1'),
      look.capture('web1'),
      look.deletePoint('web1/a'),
      look.collect(),
    ];
    for (const call of refused) await expect(call).rejects.toMatchObject({ code: 'STORE_READ_ONLY' });
    await look.close();
    expect((await store.capture('web1')).state).toBe('copied');
  });

  it('goes on with the points alone when the dump is damaged, and says so', async () => {
    const { world, store } = await withDiff();
    const points = await store.restorePoints();
    world.storage.bytesOf('catalog.dump').fill(1, 50, 51);

    const look = await world.open(true);

    expect(look.findings.map(({ code, file }) => [code, file])).toEqual([['CATALOG_DAMAGED', 'catalog.dump']]);
    expect(await look.restorePoints()).toEqual(points);
  });
});

describe('verifying', () => {
  it('names points and disks by their names, and finds damage of the catalog too', async () => {
    const { world, store } = await withDiff();
    world.storage.bytesOf('catalog.slot-a').fill(1);

    const { findings } = await store.verify();

    expect(findings.map(({ code, file }) => [code, file])).toEqual([['CATALOG_DAMAGED', 'catalog.slot-a']]);
  });
});

describe('the status', () => {
  it('counts what there is', async () => {
    const { store } = await withDiff();

    expect(await store.status()).toMatchObject({
      path: storePath,
      readOnly: false,
      machines: 1,
      points: 2,
      work: [],
      packCount: 2,
    });
  });
});

describe('a catalog in real files', () => {
  let folder: string;
  const at = (name: string): string => path.join(folder, name);

  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-store-'));
    mkdirSync(at('store'));
    writeFileSync(at('os.raw'), new Uint8Array(8192).fill(3));
  });

  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('keeps machines and points over a close and over an end without one, and restores', async () => {
    const parts = { engine: memoryEngine() };
    await createStore({ path: at('store') }, parts);
    const store = await openStore({ path: at('store') }, parts);
    expect(store.findings).toEqual([]);
    await store.createVirtualMachine({ name: 'web1', disks: [{ role: 'os', external: at('os.raw') }] });
    const first = await store.capture('web1', { name: 'a' });
    await store.close();

    const again = await openStore({ path: at('store') }, parts);
    expect(again.findings).toEqual([]);
    expect(await again.restorePoints()).toEqual([first]);
    await again.restore('web1/a', { disk: 'os', to: at('restored.raw') });
    expect(readFileSync(at('restored.raw'))).toEqual(readFileSync(at('os.raw')));
    await expect(again.restore('web1/a', { disk: 'os', to: at('restored.raw') })).rejects.toMatchObject({
      code: 'TARGET_EXISTS',
    });
    await again.close();
  });

  it('is rebuilt when its directory or all of its files are gone', async () => {
    const parts = { engine: memoryEngine() };
    await createStore({ path: at('store') }, parts);
    const store = await openStore({ path: at('store') }, parts);
    await store.createVirtualMachine({ name: 'web1', disks: [{ role: 'os', external: at('os.raw') }] });
    const point = await store.capture('web1', { name: 'a' });
    await store.close();
    for (const gone of [['catalog'], ['catalog', 'catalog.slot-a', 'catalog.slot-b', 'catalog.dump']]) {
      for (const name of gone) rmSync(at(`store/${name}`), { recursive: true });
      const again = await openStore({ path: at('store') }, parts);
      expect(again.findings.map(({ code }) => code)).toEqual(['CATALOG_DAMAGED']);
      expect(await again.restorePoints()).toEqual([point]);
      await again.close();
    }
    for (const name of ['catalog', 'catalog.slot-a', 'catalog.slot-b', 'catalog.dump']) {
      expect(existsSync(at(`store/${name}`))).toBe(true);
    }
  });

  it('lets go of the engine when it cannot be opened', async () => {
    const parts = { engine: memoryEngine() };
    await createStore({ path: at('store') }, parts);
    mkdirSync(at('store/catalog.slot-a'));
    await expect(openStore({ path: at('store') }, parts)).rejects.toMatchObject({ code: 'IO_FAILED' });
    rmSync(at('store/catalog.slot-a'), { recursive: true });

    await (await openStore({ path: at('store') }, parts)).close();
  });
});
