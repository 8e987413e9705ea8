/**
 * Live disks on a file system that becomes full: writers get NO_SPACE, reads and deletions go on, and once a point is deleted
 * writing goes on by itself. Writers that are faster than the copy are slowed, and get no error.
 */

import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';

import { createStore, openStore, type Disk, type Store } from '../../src/index.js';
import { seededRandom } from '../../src/testing/index.js';
import { testSeed } from '../house/seed.js';
import { runs } from '../house/size.js';
import { cannotLoop, smallFileSystem } from './small-file-system.js';
import { noise, temporaryFolder } from './temporary.js';

const MiB = 1024 ** 2;
const blockBytes = 4096;

/** Longest that writing may take to go on after a deletion. */
const drainedMsMax = 20_000;

/** Writes blocks of noise anywhere on a disk, many at a time, and knows what has to be where. */
class Filler {
  readonly #disk: Disk;
  readonly #seeds: Map<number, number>;
  readonly #random = seededRandom(testSeed);
  #next = 1;

  constructor(disk: Disk, seeds: ReadonlyMap<number, number> = new Map()) {
    this.#disk = disk;
    this.#seeds = new Map(seeds);
  }

  get seeds(): ReadonlyMap<number, number> {
    return new Map(this.#seeds);
  }

  /** Writes this many blocks, or until one is refused; gives the error. */
  async write(count: number): Promise<unknown> {
    const busy = new Set<number>();
    let left = count;
    let refused: unknown = null;
    const writer = async (): Promise<void> => {
      while (left > 0 && refused === null) {
        left -= 1;
        const block = this.#blockNotIn(busy);
        const seed = (this.#next += 1);
        busy.add(block);
        try {
          await this.#disk.write(block * blockBytes, noise(seed, blockBytes));
          this.#seeds.set(block, seed);
        } catch (error) {
          refused ??= error;
        } finally {
          busy.delete(block);
        }
      }
    };
    await Promise.all(Array.from({ length: 16 }, writer));
    return refused;
  }

  /** How many blocks differ from what was acknowledged. */
  async wrong(read: (offset: number) => Promise<Uint8Array>, seeds: ReadonlyMap<number, number>): Promise<number> {
    let wrong = 0;
    for (const [block, seed] of seeds) {
      if (Buffer.compare(await read(block * blockBytes), noise(seed, blockBytes)) !== 0) wrong += 1;
    }
    return wrong;
  }

  #blockNotIn(busy: ReadonlySet<number>): number {
    for (;;) {
      const [a = 0, b = 0, c = 0] = this.#random.bytes(3);
      const block = ((a << 16) | (b << 8) | c) % (this.#disk.info.sizeBytes / blockBytes);
      if (!busy.has(block)) return block;
    }
  }
}

const liveRead =
  (disk: Disk) =>
  (offset: number): Promise<Uint8Array> =>
    disk.read(offset, blockBytes);

async function machineOn(store: Store, sizeBytes: number): Promise<Disk> {
  const disk = await store.createDisk({ name: 'os', sizeBytes });
  await store.createVirtualMachine({ name: 'db', disks: { os: 'os' } });
  return disk;
}

describe.skipIf(cannotLoop())('live disks on a file system of 256 MiB', () => {
  it('become full, go on being read and deleted from, and drain by themselves', { timeout: 240_000 }, async () => {
    const storePath = path.join(smallFileSystem('ext4', 256 * MiB), 'store');
    await createStore({ path: storePath });
    await using store = await openStore({ path: storePath });
    const disk = await machineOn(store, 32 * MiB);
    const filler = new Filler(disk);
    const points = new Map<string, ReadonlyMap<number, number>>();

    let refused: unknown = null;
    for (let count = 0; refused === null && count < 40; count += 1) {
      refused = await filler.write(4000);
      if (refused === null) refused = await captured(store, `p${count}`);
      if (refused === null) points.set(`db/p${count}`, filler.seeds);
    }
    expect(refused).toMatchObject({ code: 'NO_SPACE', kind: 'retry' });
    // What folds and collects by itself may give back a little, so until nothing comes any more.
    await until(async () => (await filler.write(100)) !== null && (await filler.write(1)) !== null);

    expect(await filler.wrong(liveRead(disk), filler.seeds)).toBe(0);
    expect(points.size, 'points that were captured until then').toBeGreaterThan(0);
    for (const [reference, seeds] of points) {
      const read = (offset: number): Promise<Uint8Array> =>
        store.read(reference, { disk: 'os', offset, length: blockBytes });
      expect(await filler.wrong(read, seeds), reference).toBe(0);
    }
    await disk.flush();

    // The one of which most is nobody else's: later points may stand on what an older one stored.
    const { points: taken } = await store.statistics();
    const [most] = [...taken].sort((left, right) => right.freedBytes - left.freedBytes);
    await store.deletePoint(most?.point ?? '');
    await until(async () => (await filler.write(500)) === null);

    expect(await filler.wrong(liveRead(disk), filler.seeds)).toBe(0);
    expect((await store.verify({ readData: true })).findings).toEqual([]);
  });

  it('give what was deleted back through a full disk, again and again', { timeout: 240_000 }, async () => {
    const storePath = path.join(smallFileSystem('ext4', 256 * MiB), 'store');
    await createStore({ path: storePath });
    await using store = await openStore({ path: storePath });
    const filler = new Filler(await machineOn(store, 24 * MiB));
    for (let round = 0; round < runs(2, 20); round += 1) {
      await until(async () => (await filler.write(3000)) === null);
      await until(async () => (await captured(store, `p${round}`)) === null);
      if (round > 0) await store.deletePoint(`db/p${round - 1}`);
    }
    expect((await store.verify({ readData: true })).findings).toEqual([]);
  });
});

describe('writers that are faster than the copy', () => {
  it('are slowed, get no error, and leave log and memory inside their limits', { timeout: 600_000 }, async () => {
    const storePath = path.join(temporaryFolder(), 'store');
    await createStore({ path: storePath });
    await using store = await openStore({ path: storePath });
    const disk = await machineOn(store, 2 ** 30);
    // The limit, the window for points in time, and the segments that are full before anybody looks.
    const logMax = 2 ** 30 + 2 ** 30 + 256 * MiB;
    const wantedBytes = runs(1536, 8192) * MiB;
    const block = noise(testSeed, MiB);
    let written = 0;
    let logged = 0;
    let resident = 0;
    const before = process.memoryUsage.rss();
    const writer = async (lane: number): Promise<void> => {
      for (let count = lane; written < wantedBytes; count += 8) {
        block.writeUInt32LE(count, 0);
        await disk.write((count % 1024) * MiB, block);
        written += MiB;
        const { live } = count % 64 === lane ? await store.status() : { live: { logBytes: 0 } };
        logged = Math.max(logged, live.logBytes);
        resident = Math.max(resident, process.memoryUsage.rss() - before);
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, lane) => writer(lane)));
    expect(logged).toBeLessThanOrEqual(logMax);
    expect(resident).toBeLessThan(512 * MiB);
  });
});

/** Captures and waits for the copy; gives what it was refused with. */
async function captured(store: Store, name: string): Promise<unknown> {
  try {
    await (await store.capture('db', { name })).copied();
    return null;
  } catch (error) {
    expect(error).toMatchObject({ kind: 'retry' });
    const there = (await store.restorePoints('db')).find((point) => point.name === name);
    if (there !== undefined) await store.deletePoint(there.reference);
    return error;
  }
}

async function until(isDone: () => Promise<boolean>): Promise<void> {
  for (let waitedMs = 0; !(await isDone()); waitedMs += 50) {
    if (waitedMs > drainedMsMax) throw new Error(`not so after ${drainedMsMax} ms`);
    await pause(50);
  }
}
