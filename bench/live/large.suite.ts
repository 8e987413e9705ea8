/**
 * How much of the speed of plain writes is left for writes of 1 MiB?
 *
 * Unit: MiB/s into the page cache; ours through the log of a new store, theirs `pwrite` to new files, in turn, nothing synced by
 * the caller. Theirs is one file, as a raw image is one, and so is the log; beside it, for what the kernel's lock of a file costs,
 * one for each writer. Expected: ours copies twice (the caller's bytes, then the page cache) and sums once: half of one `pwrite`
 * stream at depth 1; at depth 8 the copies run beside each other on two cores, and only one writes at a time.
 */

import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { performance } from 'node:perf_hooks';

import { mostOf, type Figure } from '../figure.js';
import { blocks, liveStore, MiB, requests } from './load.js';
import type { LiveContext, LiveSuite } from './size.js';

const figure = mostOf('1 MiB writes');
/** Fresh pages cost what the machine has at hand: a ratio of few runs is a matter of luck. */
const rounds = 3;
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
    const [ours, theirs, apart]: [number[], number[], number[]] = [[], [], []];
    for (let run = 0; run < rounds * size.runs; run += 1) {
      theirs.push(depth === 1 ? plainOne(directory, count, block) : await plainMany(directory, count, depth, 1, block));
      if (depth > 1) apart.push(await plainMany(directory, count, depth, depth, block));
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
      figure(`depth ${depth}: pwrite to a new file`, theirs, 'MiB/s'),
      figure(`depth ${depth}: share of pwrite`, ratios, '', { must }),
    );
    if (depth > 1) figures.push(figure(`depth ${depth}: pwrite to a new file for each writer`, apart, 'MiB/s'));
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

/** So many writers, who take turns at the files. */
async function plainMany(
  directory: string,
  count: number,
  writers: number,
  fileCount: number,
  block: (index: number) => Uint8Array,
): Promise<number> {
  const files = Array.from({ length: fileCount }, (_, index) => path.join(directory, `plain-${index}`));
  const handles: FileHandle[] = [];
  for (const file of files) handles.push(await open(file, 'w'));
  const { perSecond } = await requests(
    writers,
    (begun) => begun >= count,
    async (index) => handles[index % fileCount]?.write(block(index), 0, MiB, Math.floor(index / fileCount) * MiB),
  );
  for (const handle of handles) await handle.close();
  for (const file of files) rmSync(file);
  return perSecond;
}
