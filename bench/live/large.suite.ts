/**
 * How much of the speed of plain writes is left for writes of 1 MiB?
 *
 * Unit: MiB/s into the page cache; ours through the log of a new store, theirs `pwrite` to new files, in turn, nothing synced by
 * the caller. Expected: ours copies twice (the caller's bytes, then the page cache) and sums once: half of one `pwrite` stream at
 * depth 1; at depth 8 the copies run beside each other on two cores.
 */

import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { performance } from 'node:perf_hooks';

import { mostOf, type Figure } from '../figure.js';
import { blocks, liveStore, MiB, requests } from './load.js';
import type { LiveContext, LiveSuite } from './size.js';

const figure = mostOf('1 MiB writes');
const depths = [
  { depth: 1, must: 0.45 },
  { depth: 8, must: 0.7 },
];

export const largeWrites: LiveSuite = {
  name: 'large',
  question: 'How much of the speed of plain writes is left for writes of 1 MiB?',
  run,
};

async function run({ size, directory, say }: LiveContext): Promise<Figure[]> {
  const count = size.largeBytes / MiB;
  const block = blocks(MiB);
  const figures: Figure[] = [];
  for (const { depth, must } of depths) {
    const [ours, theirs]: [number[], number[]] = [[], []];
    for (let run = 0; run < size.runs; run += 1) {
      theirs.push(depth === 1 ? plainOne(directory, count, block) : await plainMany(directory, count, depth, block));
      const place = path.join(directory, `store-${depth}-${run}`);
      await mkdir(place);
      const { store, disks } = await liveStore(place, 1, size.largeBytes);
      const [disk] = disks;
      const { perSecond } = await requests(
        depth,
        (done) => done >= count,
        async (index) => disk?.write(index * MiB, block(index)),
      );
      ours.push(perSecond);
      await store.close();
      await rm(place, { recursive: true });
      say(`large: depth ${depth}: ${Math.round(perSecond)} of ${Math.round(theirs.at(-1) ?? 0)} MiB/s`);
    }
    const ratios = ours.map((value, index) => value / (theirs[index] ?? Number.NaN));
    figures.push(
      figure(`depth ${depth}`, ours, 'MiB/s'),
      figure(`depth ${depth}: pwrite to new files`, theirs, 'MiB/s'),
      figure(`depth ${depth}: share of pwrite`, ratios, '', { must }),
    );
  }
  return figures;
}

function plainOne(directory: string, count: number, block: (index: number) => Uint8Array): number {
  const file = path.join(directory, 'plain');
  const handle = openSync(file, 'w');
  const startedMs = performance.now();
  for (let index = 0; index < count; index += 1) writeSync(handle, block(index), 0, MiB, index * MiB);
  const tookMs = performance.now() - startedMs;
  closeSync(handle);
  rmSync(file);
  return (count * 1000) / tookMs;
}

/** A file for each writer, so that none waits for another's inode. */
async function plainMany(
  directory: string,
  count: number,
  depth: number,
  block: (index: number) => Uint8Array,
): Promise<number> {
  const files = Array.from({ length: depth }, (_, index) => path.join(directory, `plain-${index}`));
  const handles: FileHandle[] = [];
  for (const file of files) handles.push(await open(file, 'w'));
  let next = 0;
  const startedMs = performance.now();
  await Promise.all(
    handles.map(async (handle) => {
      for (let at = 0; next < count; at += MiB) {
        next += 1;
        await handle.write(block(next), 0, MiB, at);
      }
    }),
  );
  const tookMs = performance.now() - startedMs;
  for (const handle of handles) await handle.close();
  for (const file of files) rmSync(file);
  return (count * 1000) / tookMs;
}
