/**
 * Question: what does it cost to give back the space of dead chunks, and who notices?
 *
 * A store holds a number of chunks of which a third is dead, spread evenly over all packs: the worst case, since every pack has to
 * be rewritten. Then `collect` runs, while a second machine is captured again and again with changed content. Units: seconds,
 * bytes, milliseconds of a capture.
 *
 * Expected for a million chunks (2.2 KiB stored each) on two cores: marking reads 11 thousand nodes (25 us each: 0.3 s), planning
 * goes over trailers of 48 MB three times (0.5 s), sweeping copies 1.5 GB (at 500 MB/s and a sync a pack: 4 s), the index is
 * written once (35 MB: 0.2 s). About 5 s, and 9 bytes a live chunk of memory.
 */

import { mkdir, readFile, rm } from 'node:fs/promises';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

import { createStore, openStore, type CollectReport, type Store } from 'stillpoint';
import { spreadOf, type Spread } from '../spread.js';

const chunkBytes = 16_384;
/** Of each chunk so much is data, half of it random; the rest is a hole in the image. */
const dataBytes = 4096;

export interface CollectFigures {
  readonly chunks: number;
  readonly dead: number;
  readonly fillSeconds: number;
  readonly collectSeconds: number;
  readonly report: CollectReport;
  readonly plannedBytesFreed: number;
  readonly packBytesBefore: number;
  readonly packBytesAfter: number;
  /** Peak resident memory of the process before and after collecting. */
  readonly peakBytesBefore: number;
  readonly peakBytesAfter: number;
  /** Milliseconds of a capture of the second machine, alone and beside the collection. */
  readonly captureAlone: Spread | null;
  readonly captureBeside: Spread | null;
  readonly findings: number;
}

/** Runs the bench in a directory, which it empties afterwards. */
export async function benchCollect(
  directory: string,
  chunkCount: number,
  say: (line: string) => void,
): Promise<CollectFigures> {
  await mkdir(directory, { recursive: true });
  const fill = filler();
  // Two thirds of the chunks at first; then half of them change, which leaves the old third dead.
  const live = Math.floor((chunkCount * 2) / 3);
  const images = { big: path.join(directory, 'big.raw'), small: path.join(directory, 'small.raw') };
  const smallCount = Math.max(64, Math.floor(chunkCount / 100));
  try {
    writeChunks(images.big, live, 1, fill);
    writeChunks(images.small, smallCount, 1, fill);
    await createStore({ path: path.join(directory, 'store'), chunkBytes });
    await using store = await openStore({ path: path.join(directory, 'store') });
    await store.createVirtualMachine({ name: 'big', disks: [{ role: 'os', external: images.big }] });
    await store.createVirtualMachine({ name: 'small', disks: [{ role: 'os', external: images.small }] });
    const started = performance.now();
    await capture(store, 'big', 'a');
    say(`captured ${live} chunks`);
    writeChunks(images.big, live, 2, fill);
    await capture(store, 'big', 'b');
    await store.deletePoint('big/a');
    const fillSeconds = (performance.now() - started) / 1000;
    say(`filled in ${fillSeconds.toFixed(1)} s`);

    let round = 0;
    const times = { alone: [] as number[], beside: [] as number[] };
    const captureSmall = async (into: number[]): Promise<void> => {
      round += 1;
      writeChunks(images.small, smallCount, 2 + (round % 7), fill);
      await wait(25); // an image must be still for 20 ms
      const began = performance.now();
      await store.capture('small', { name: `c${round}` });
      into.push(performance.now() - began);
      if (round > 2) await store.deletePoint(`small/c${round - 2}`);
    };
    for (let index = 0; index < 8; index += 1) await captureSmall(times.alone);
    const planned = await store.collect({ dryRun: true });
    const before = await store.status();
    const peakBytesBefore = await peakBytes();
    const work = { isOver: false };
    const began = performance.now();
    const collecting = store.collect().finally(() => {
      work.isOver = true;
    });
    collecting.catch(() => undefined);
    while (!work.isOver) await captureSmall(times.beside);
    const report = await collecting;
    const collectSeconds = (performance.now() - began) / 1000;
    say(`collected in ${collectSeconds.toFixed(1)} s`);
    const peakBytesAfter = await peakBytes();
    const after = await store.status();
    const { findings } = await store.verify({ readData: true });
    return {
      chunks: before.chunkCount,
      dead: planned.chunksRemoved,
      fillSeconds,
      collectSeconds,
      report,
      plannedBytesFreed: planned.bytesFreed,
      packBytesBefore: before.packBytes,
      packBytesAfter: after.packBytes,
      peakBytesBefore,
      peakBytesAfter,
      captureAlone: spreadOf(times.alone),
      captureBeside: spreadOf(times.beside),
      findings: findings.length,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function capture(store: Store, machine: string, name: string): Promise<void> {
  await wait(25); // an image must be still for 20 ms
  await store.capture(machine, { name });
}

/** Content that differs for every (chunk, version), half of it compressible. */
function filler(): (buffer: Buffer, chunk: number, version: number) => void {
  let state = 1;
  return (buffer, chunk, version) => {
    state = (Math.imul(chunk + 1, 0x9e3779b1) ^ Math.imul(version, 0x85ebca6b)) >>> 0 || 1;
    for (let at = 0; at < dataBytes / 2; at += 4) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      buffer.writeInt32LE(state | 0, at);
    }
    buffer.writeUInt32LE(chunk, 0);
    buffer.writeUInt32LE(version, 4);
  };
}

/** Version 1 writes all chunks of an image, a later one every second. */
function writeChunks(
  file: string,
  chunkCount: number,
  version: number,
  fill: (buffer: Buffer, chunk: number, version: number) => void,
): void {
  const handle = openSync(file, version === 1 ? 'w' : 'r+');
  const buffer = Buffer.alloc(dataBytes, 0x61);
  for (let chunk = 0; chunk < chunkCount; chunk += version === 1 ? 1 : 2) {
    fill(buffer, chunk, version);
    writeSync(handle, buffer, 0, dataBytes, chunk * chunkBytes);
  }
  if (version === 1) ftruncateSync(handle, chunkCount * chunkBytes);
  closeSync(handle);
}

/** VmHWM of this process; 0 where there is no /proc. */
async function peakBytes(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  return Number(/^VmHWM:\s*(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}
