/** Limits of single disks, with the engine in Rust: by the clock of a simulated world, and with waits that no test sits out. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { createStore, openStore, type Disk, type Store } from '../../src/index.js';
import { World } from '../../src/testing/index.js';

const none = { operationsPerSecond: null, bytesPerSecond: null };
const sector = (value: number): Uint8Array => new Uint8Array(512).fill(value);

describe('a disk with limits, by the clock of its world', () => {
  /** Milliseconds between the first and the last of some requests, as the log has them. */
  async function lasted(store: Store, lsns: readonly string[]): Promise<number> {
    const times = [];
    for (const [index, lsn] of [lsns[0], lsns.at(-1)].entries()) {
      const name = `at${index}${lsns.length}`;
      const { at } = await store.restoreToDisk('db', { disk: 'a', name, at: { lsn: lsn ?? '' } });
      times.push(at?.timeMs ?? Number.NaN);
    }
    return (times[1] ?? Number.NaN) - (times[0] ?? Number.NaN);
  }

  it.each([
    [{ operationsPerSecond: 100 }, 512, 301, 3000],
    [{ bytesPerSecond: 51_200 }, 512, 301, 3000],
    [{ bytesPerSecond: 51_200 }, 5120, 31, 3000],
    [{ operationsPerSecond: 100, bytesPerSecond: 1 << 30 }, 512, 301, 3000],
  ])('with %j has %i bytes %i times in no less time', async (limits, bytes, count, expectedMs) => {
    const world = World.create({ seed: 5 });
    await createStore({ path: '/store', chunkBytes: 16_384 }, world.parts());
    const store = await openStore({ path: '/store' }, world.parts());
    const disk = await store.createDisk({ name: 'a', sizeBytes: 1 << 20, limits });
    await store.createVirtualMachine({ name: 'db', disks: { a: 'a' } });

    const lsns = await Promise.all(Array.from({ length: count }, () => disk.write(0, new Uint8Array(bytes).fill(3))));

    const took = await lasted(store, lsns);
    expect(took).toBeGreaterThanOrEqual(expectedMs * 0.95);
    expect(took).toBeLessThanOrEqual(expectedMs * 1.05);
    await store.close();
  });
});

describe('a disk whose requests have to wait', () => {
  let folder: string;
  let store: Store;
  let slow: Disk;
  let quick: Disk;

  beforeEach(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-limits-'));
    await createStore({ path: path.join(folder, 'store') });
    store = await openStore({ path: path.join(folder, 'store') });
    slow = await store.createDisk({ name: 'slow', sizeBytes: 1 << 20 });
    quick = await store.createDisk({ name: 'quick', sizeBytes: 1 << 20 });
    await store.createVirtualMachine({ name: 'db', disks: { slow: 'slow', quick: 'quick' } });
    // Whoever comes second waits for minutes, unless something else lets it go.
    await slow.setLimits({ bytesPerSecond: 1 });
    await slow.write(0, sector(1));
  });

  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('lets its neighbour on the same log read and write, and captures go on', async () => {
    const waiting = Array.from({ length: 100 }, (_, index) => slow.write((index + 1) * 512, sector(index + 1)));

    for (let index = 0; index < 50; index += 1) await quick.write(index * 512, sector(index), { fua: index === 49 });
    expect((await quick.read(512, 512))[0]).toBe(1);
    const point = await store.capture('db');
    await point.copied();

    expect((await store.read('db/' + point.name, { disk: 'slow', offset: 0, length: 1024 }))[512]).toBe(0);
    await slow.setLimits({});
    await Promise.all(waiting);
    for (let index = 1; index <= 100; index += 1) expect((await slow.read(index * 512, 512))[0]).toBe(index);
  });

  it.each([
    ['read', (signal: AbortSignal) => slow.read(0, 512, { signal })],
    ['write', (signal: AbortSignal) => slow.write(0, sector(9), { signal })],
    ['write of zeros', (signal: AbortSignal) => slow.writeZeroes(0, 512, { signal })],
    ['trim', (signal: AbortSignal) => slow.trim(0, 512, { signal })],
    ['batch', (signal: AbortSignal) => slow.batch([{ kind: 'trim', offset: 0, length: 512 }], { signal })],
  ])('takes back a %s whose signal is aborted, which has no effect', async (_what, request) => {
    const abort = new AbortController();
    const [taken, stays] = [request(abort.signal), slow.write(1024, sector(4))];
    abort.abort();
    await expect(taken).rejects.toMatchObject({ code: 'CANCELLED' });
    await slow.setLimits({});
    await stays;
    const bytes = await slow.read(0, 1536);
    expect([bytes[0], bytes[1024]]).toEqual([1, 4]);
  });

  it('holds up no closing of the store: what waits is done first', async () => {
    const waiting = [slow.write(512, sector(5)), slow.flush()];
    await store.close();
    await Promise.all(waiting);

    store = await openStore({ path: path.join(folder, 'store') });
    const again = await store.disk('slow');
    expect(again.info.limits).toEqual({ operationsPerSecond: null, bytesPerSecond: 1 });
    const abort = new AbortController();
    const [first, second] = [again.read(0, 1024), again.read(0, 512, { signal: abort.signal })];
    expect((await first)[512]).toBe(5);
    abort.abort();
    await expect(second).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it('keeps its limits where it is moved, and gets others with its attachment', async () => {
    const limits = { operationsPerSecond: 7, bytesPerSecond: 4096 };
    await slow.setLimits(limits);
    expect((await slow.detach()).limits).toEqual(limits);
    expect((await slow.attach('db')).limits).toEqual(limits);
    await slow.detach();
    expect((await slow.attach('db', 'slow', { limits: { operationsPerSecond: 9 } })).limits).toEqual({
      operationsPerSecond: 9,
      bytesPerSecond: null,
    });
    expect((await slow.setLimits({})).limits).toEqual(none);
    expect((await store.disks()).map((disk) => disk.limits)).toEqual([none, none]);
  });

  it('has no limit that is no whole number from 1', async () => {
    for (const wrong of [0, -1, 0.5, Number.NaN, '5', 2 ** 60]) {
      const limits = { bytesPerSecond: wrong as number };
      await expect(slow.setLimits(limits)).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
      await expect(store.createDisk({ name: 'x', sizeBytes: 512, limits })).rejects.toMatchObject({
        code: 'ARGUMENT_INVALID',
      });
    }
    const unknown = { bytes: 5 } as object;
    await expect(slow.setLimits(unknown)).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
  });
});
