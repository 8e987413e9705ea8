/**
 * How many small writes a second, and what of them is the JavaScript thread's?
 *
 * Unit: writes of 4 KiB at random places of one disk of 1 GiB, into the page cache, as `disk.write` and as batches of 32; each run
 * on a new store, and of less than is folded beside the writers: what happens then is the `sustained` suite's.
 * Expected: one at a time is a copy, two hand-overs between threads and 4 KiB to the page cache: 20 to 25 us. Many at a time the
 * JavaScript thread is the limit: promise, closure and call of the addon take 8 to 12 us; in a batch 2 to 4.
 */

import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';

import type { Disk } from 'stillpoint';

import { mostOf, leastOf, type Figure } from '../figure.js';
import { blocks, KiB, liveStore, MiB, placesOn, requests } from './load.js';
import type { LiveContext, LiveSuite } from './size.js';

const rate = mostOf('4 KiB writes');
const cost = leastOf('4 KiB writes');
const batchLength = 32;

export const smallWrites: LiveSuite = {
  name: 'writes',
  question: 'How many small writes a second, and what of them is the JavaScript thread’s?',
  run,
};

async function run({ size, directory, say }: LiveContext): Promise<Figure[]> {
  const sizeBytes = 1024 * MiB;
  let disk: Disk;
  const block = blocks(4 * KiB);
  const place = placesOn(sizeBytes, 4 * KiB, 1);
  const single = (index: number): Promise<unknown> => disk.write(place(), block(index));
  const batch = (index: number): Promise<unknown> =>
    disk.batch(
      Array.from({ length: batchLength }, (_, each) => ({
        kind: 'write' as const,
        offset: place(),
        bytes: block(index * batchLength + each),
      })),
    );
  const ways = [
    { what: 'depth 1', depth: 1, each: single, many: 1, must: 20_000 },
    { what: 'depth 32', depth: 32, each: single, many: 1, must: 100_000 },
    { what: 'depth 32, batches of 32', depth: 4, each: batch, many: batchLength, must: 100_000 },
  ];
  const taken = new Map<string, { rates: number[]; costs: number[]; p99: number[] }>(
    ways.map(({ what }) => [what, { rates: [], costs: [], p99: [] }]),
  );
  for (let run = 0; run < size.runs; run += 1) {
    for (const [way, { what, depth, each, many }] of ways.entries()) {
      const own = path.join(directory, `${run}-${way}`);
      await mkdir(own);
      const { store, disks } = await liveStore(own, 1, sizeBytes);
      const [made] = disks;
      if (made === undefined) throw new Error('a disk was made');
      disk = made;
      const count = Math.ceil(size.requests / many / (depth === 1 ? 2 : 1));
      await requests(depth, (done) => done >= count / 20, each); // threads, buffers and compiled code are there
      const { perSecond, threadMicroseconds, latencies } = await requests(depth, (done) => done >= count, each);
      const sorted = [...latencies].sort((left, right) => left - right);
      taken.get(what)?.rates.push(perSecond * many);
      taken.get(what)?.costs.push(threadMicroseconds / many);
      taken.get(what)?.p99.push(sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN);
      say(`writes: ${what}: ${Math.round(perSecond * many)} a second`);
      await store.close();
      await rm(own, { recursive: true });
    }
  }
  return ways.flatMap(({ what, must }) => {
    const { rates = [], costs = [], p99 = [] } = taken.get(what) ?? {};
    return [
      // The bar for depth 32 may be reached by batches.
      rate(what, rates, 'per s', what === 'depth 32' ? {} : { must }),
      cost(`${what}: JavaScript thread`, costs, 'us a write'),
      cost(`${what}: p99`, p99, 'ms'),
    ];
  });
}
