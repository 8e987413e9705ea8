/** A file system that becomes full under a capture or a restore: NO_SPACE, nothing changed, and a way out. */

import { readdirSync, rmSync, statfsSync, statSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { openStore } from '../../src/index.js';
import { runs } from '../house/size.js';
import { codeOf, runCommand } from './command.js';
import { expectRefusal, type Attempt } from './refusal.js';
import { bytesFree, cannotMount, fill, smallFileSystem, type SmallFileSystem } from './small-file-system.js';
import { smallStore, stateOf, withOpen, type SmallStore } from './small-store.js';
import { noise, writeStill } from './temporary.js';

const MiB = 1024 ** 2;
const kinds: readonly SmallFileSystem[] = ['tmpfs', 'ext4'];
const full = { code: 'NO_SPACE', kind: 'retry' } as const;

/** A store on a small file system with a point of 8 MiB; its image is somewhere else. */
async function storeWithLittleRoom(kind: SmallFileSystem, bytes = 24 * MiB): Promise<SmallStore> {
  const mounted = smallFileSystem(kind, bytes);
  return smallStore({ storePath: `${mounted}/store`, content: noise(1, 8 * MiB), compression: 'none' });
}

const capture: Attempt = { call: (store) => store.capture('web1', { name: 'second' }), words: ['capture', 'web1'] };

function reserveBytes({ path: storePath }: SmallStore): number {
  return statSync(`${storePath}/reserve`).size;
}

function capacity(folder: string): number {
  const { blocks, bsize } = statfsSync(folder);
  return blocks * bsize;
}

/** Runs a command that must end well. */
async function expectDone(store: SmallStore, ...words: string[]): Promise<void> {
  const { code, err } = await runCommand(['--store', store.path, ...words]);
  expect([words, code, err]).toEqual([words, 0, expect.any(String)]);
}

/** Runs a command that must find the disk full. */
async function expectFull(store: SmallStore, ...words: string[]): Promise<void> {
  const ended = await runCommand(['--store', store.path, '--json', ...words]);
  expect([words, codeOf(ended), ended.code]).toEqual([words, 'NO_SPACE', 1]);
}

describe.skipIf(cannotMount)('a store whose file system is too small for a capture', () => {
  it.each(kinds)('(%s) is as it was afterwards, and the same handle deletes, collects and captures', async (kind) => {
    const store = await storeWithLittleRoom(kind);
    await writeStill(store.image, noise(2, 20 * MiB));
    const freeBefore = bytesFree(store.path);

    await expectRefusal(store, full, capture);
    expect(freeBefore - bytesFree(store.path)).toBeLessThan(MiB);

    await writeStill(store.image, noise(3, 14 * MiB));
    await withOpen(store.path, async (open) => {
      await expect(open.capture('web1', { name: 'second' })).rejects.toMatchObject(full);
      await open.deletePoint('web1/first');
      expect((await open.collect()).bytesFreed).toBeGreaterThan(7 * MiB);
      expect((await open.capture('web1', { name: 'second' })).state).toBe('copied');
      expect((await open.verify({ readData: true })).findings).toEqual([]);
    });
  });
});

describe.skipIf(cannotMount)('a store on a file system without one free byte', () => {
  it.each(kinds)('(%s) can be looked at, read and verified, and lets points be deleted and collected', async (kind) => {
    const store = await storeWithLittleRoom(kind);
    await withOpen(store.path, (open) => open.capture('web1', { name: 'second' }));
    const state = await stateOf(store.path);
    const filler = fill(`${store.path}/..`);

    const look = await openStore({ path: store.path, readOnly: true });
    expect(await look.restorePoints()).toEqual(state.points);
    expect((await look.verify({ readData: true })).findings).toEqual([]);
    await look.close();
    await expectFull(store, 'capture', 'web1');
    await expectDone(store, 'delete', 'web1/first');
    await expectDone(store, 'delete', 'web1/second');
    await expectDone(store, 'gc');
    expect(bytesFree(store.path)).toBeGreaterThan(7 * MiB);

    rmSync(filler);
    await withOpen(store.path, async (open) => {
      expect(await open.restorePoints()).toEqual([]);
      expect((await open.capture('web1', { name: 'third' })).state).toBe('copied');
    });
    expect((await stateOf(store.path)).findings).toEqual([]);
  });

  it.each(kinds)(
    '(%s) refuses what adds to it, and takes it through the same handle when there is space',
    async (kind) => {
      const store = await storeWithLittleRoom(kind);
      await withOpen(store.path, async (open) => {
        const filler = fill(`${store.path}/..`);
        const disks = [{ role: 'os', external: store.image }];
        // Until nothing fits: the catalog's files may have a few bytes left.
        let created = 0;
        const createMany = async (): Promise<never> => {
          for (; ; created += 1) {
            await open.createVirtualMachine({ name: `vm${created}`, disks, configuration: 'x'.repeat(9000) });
          }
        };
        await expect(createMany()).rejects.toMatchObject(full);
        await expect(open.capture('web1', { name: 'second' })).rejects.toMatchObject(full);
        expect(await open.virtualMachines()).toHaveLength(1 + created);
        expect(await open.restorePoints()).toHaveLength(1);
        expect((await open.verify({ readData: true })).findings).toEqual([]);

        rmSync(filler);
        await open.createVirtualMachine({ name: `vm${created}`, disks });
        expect((await open.capture('web1', { name: 'second' })).state).toBe('copied');
        expect((await open.verify({ readData: true })).findings).toEqual([]);
      });
      expect((await stateOf(store.path)).findings).toEqual([]);
    },
  );

  it.each(kinds)('(%s) stays usable however often what it gives back is taken by others', async (kind) => {
    const store = await storeWithLittleRoom(kind);
    const points = Array.from({ length: runs(8, 60) }, (_, index) => `p${index}`);
    await withOpen(store.path, async (open) => {
      for (const name of points) await open.capture('web1', { name });
    });
    const state = await stateOf(store.path);
    expect(state.findings).toEqual([]);
    for (const name of points) {
      rmSync(`${store.path}/../filler`, { force: true });
      fill(`${store.path}/..`);
      await expectDone(store, 'delete', `web1/${name}`);
    }

    await expectDone(store, 'gc');
    rmSync(`${store.path}/../filler`);
    const { points: left, findings } = await stateOf(store.path);
    expect([left, findings]).toEqual([[expect.objectContaining({ name: 'first' })], []]);
  });

  it.each(kinds)(
    '(%s) is collected: what is wholly dead goes first and makes room to rewrite the rest',
    async (kind) => {
      const store = await storeWithLittleRoom(kind, 40 * MiB);
      const half = noise(1, 8 * MiB);
      for (let offset = 0; offset < half.length; offset += 131_072) half.fill(0, offset, offset + 65_536);
      await withOpen(store.path, async (open) => {
        await writeStill(store.image, half);
        await open.capture('web1', { name: 'half' });
        await writeStill(store.image, noise(2, 8 * MiB));
        await open.capture('web1', { name: 'other' });
        await open.deletePoint('web1/first');
        await open.deletePoint('web1/other');
        fill(`${store.path}/..`);

        const report = await open.collect();

        expect(report.packsRewritten).toBeGreaterThan(0);
        expect(report.bytesFreed).toBeGreaterThan(11 * MiB);
        const read = await open.read('web1/half', { disk: 'os', offset: 0, length: half.length });
        expect(Buffer.compare(read, half)).toBe(0);
      });
      expect((await stateOf(store.path)).findings).toEqual([]);
    },
  );

  it.each(kinds)('(%s) has its reserve again after all of that, at most an eighth of the file system', async (kind) => {
    const store = await storeWithLittleRoom(kind);
    const before = reserveBytes(store);
    expect(before).toBeGreaterThan(capacity(store.path) / 8 - 8192);
    expect(before).toBeLessThanOrEqual(capacity(store.path) / 8);
    await writeStill(store.image, noise(2, 20 * MiB));
    for (let round = 0; round < 2; round += 1) {
      await expectFull(store, 'capture', 'web1');
      expect(reserveBytes(store)).toBe(before);
    }
  });
});

describe.skipIf(cannotMount)('a restore onto a full file system', () => {
  it.each(kinds)('(%s) fails with NO_SPACE and leaves no file there', async (kind) => {
    const store = await smallStore({ content: noise(1, 8 * MiB) });
    const mounted = smallFileSystem(kind, 4 * MiB);
    const to = `${mounted}/os.raw`;

    await expectRefusal(store, full, {
      call: (open) => open.restore('web1/first', { disk: 'os', to }),
      words: ['restore', 'web1/first', '--to', to],
    });
    expect(readdirSync(mounted)).toEqual([]);
  });
});

describe.skipIf(cannotMount)('a store that is made on a full file system', () => {
  it.each(kinds)('(%s) fails with NO_SPACE', async (kind) => {
    const mounted = smallFileSystem(kind, 2 * MiB);
    fill(mounted);
    const { code, err } = await runCommand(['--store', `${mounted}/store`, '--json', 'init']);

    expect([code, err]).toEqual([1, expect.stringContaining('"NO_SPACE"')]);
  });
});
