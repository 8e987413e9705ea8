/** Stores with live disks, requests many at a time, and what they took. */

import path from 'node:path';
import { performance } from 'node:perf_hooks';

import { createStore, openStore, type Disk, type Store } from 'stillpoint';
import { contentBytes, seededRandom } from 'stillpoint/testing';

export const KiB = 1024;
export const MiB = 1_048_576;

export interface LiveStore {
  readonly store: Store;
  readonly disks: readonly Disk[];
  readonly path: string;
}

/** A new store with one machine `m` of these disks, `d0`, `d1`, ... */
export async function liveStore(directory: string, count: number, sizeBytes: number): Promise<LiveStore> {
  const storePath = path.join(directory, 'store');
  await createStore({ path: storePath });
  const store = await openStore({ path: storePath });
  const names = Array.from({ length: count }, (_, index) => `d${index}`);
  const disks: Disk[] = [];
  for (const name of names) disks.push(await store.createDisk({ name, sizeBytes }));
  await store.createVirtualMachine({ name: 'm', disks: Object.fromEntries(names.map((name) => [name, name])) });
  return { store, disks, path: storePath };
}

/** Blocks that no codec makes smaller; the caller takes one after the other. */
export function blocks(blockBytes: number): (index: number) => Uint8Array {
  const pool = contentBytes({ kind: 'random', seed: 1 }, Math.max(4 * MiB, 4 * blockBytes));
  const places = (pool.length - blockBytes) / 512;
  return (index) => {
    const at = ((index * 7919) % places) * 512;
    return pool.subarray(at, at + blockBytes);
  };
}

/** Places on a disk, at random. */
export function placesOn(sizeBytes: number, blockBytes: number, seed: number): () => number {
  const random = seededRandom(seed);
  let drawn = random.bytes(65_536);
  let at = 0;
  const count = Math.floor(sizeBytes / blockBytes);
  return () => {
    if (at + 4 > drawn.length) {
      drawn = random.bytes(drawn.length);
      at = 0;
    }
    const number =
      ((drawn[at] ?? 0) | ((drawn[at + 1] ?? 0) << 8) | ((drawn[at + 2] ?? 0) << 16)) + (drawn[at + 3] ?? 0) * 2 ** 24;
    at += 4;
    return (number % count) * blockBytes;
  };
}

export interface Taken {
  readonly perSecond: number;
  /** Microseconds that the JavaScript thread was busy, for each request. */
  readonly threadMicroseconds: number;
  /** Milliseconds of each request. */
  readonly latencies: readonly number[];
}

/** Makes requests, so many at a time, until `isOver`; `each` is given a running number. */
export async function requests(
  depth: number,
  isOver: (done: number) => boolean,
  each: (index: number) => Promise<unknown>,
): Promise<Taken> {
  const latencies: number[] = [];
  let begun = 0;
  const before = performance.eventLoopUtilization();
  const startedMs = performance.now();
  const lane = async (): Promise<void> => {
    while (!isOver(begun)) {
      const index = begun;
      begun += 1;
      const at = performance.now();
      await each(index);
      latencies.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: depth }, lane));
  const tookMs = performance.now() - startedMs;
  const { active } = performance.eventLoopUtilization(before);
  return {
    perSecond: (latencies.length * 1000) / tookMs,
    threadMicroseconds: (active * 1000) / latencies.length,
    latencies,
  };
}

/** The value below which this share of all lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Lets copies and folding end. */
export async function settled(store: Store): Promise<void> {
  for (;;) {
    const { live } = await store.status();
    if (live.layers <= 1) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
