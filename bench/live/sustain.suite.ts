/**
 * What happens to writers that never pause, and to those who write beside a copy?
 *
 * Unit: random 4 KiB writes of 16 writers to a disk of 256 MiB, more bytes than a log may hold; then the same for windows with a
 * copy of everything running and without. Expected: the rate falls to that of folding (two cores that hash, compress and write
 * 64 KiB chunks for 4 KiB changes) once the log is full; no write fails, the log ends at 1 GiB and its last segments.
 */

import process from 'node:process';

import { leastOf, mostOf, type LiveFigure } from './figure.js';
import { blocks, KiB, liveStore, MiB, placesOn, quantile, requests, settled } from './load.js';
import { mebibytes, peakBytes } from '../scale/measure.js';
import type { LiveContext, LiveSuite } from './size.js';

const least = leastOf('sustained');
const most = mostOf('sustained');
const sizeBytes = 256 * MiB;
const logMiBMax = 1024 + 192;

export const sustained: LiveSuite = {
  name: 'sustained',
  question: 'What happens to writers that never pause, and to those who write beside a copy?',
  run,
};

async function run({ size, directory, say }: LiveContext): Promise<LiveFigure[]> {
  const { store, disks } = await liveStore(directory, 1, sizeBytes);
  const [disk] = disks;
  if (disk === undefined) throw new Error('a disk was made');
  const block = blocks(4 * KiB);
  const place = placesOn(sizeBytes, 4 * KiB, 4);
  let logBytes = 0;
  let failed = 0;
  const write = async (index: number): Promise<void> => {
    if (index % 4096 === 0) logBytes = Math.max(logBytes, (await store.status()).live.logBytes);
    await disk.write(place(), block(index)).catch(() => (failed += 1));
  };
  const residentBefore = process.memoryUsage.rss();
  const count = size.sustainedBytes / (4 * KiB);
  const long = await requests(16, (done) => done >= count, write);
  const tail = long.latencies.slice(-Math.ceil(long.latencies.length / 4));
  say(`sustained: ${Math.round(long.perSecond)} a second, longest ${Math.max(...maxima(tail)).toFixed(0)} ms`);
  const figures = [
    most('rate over all', long.perSecond, 'per s'),
    least('p99 in the last quarter', quantile(tail, 0.99), 'ms'),
    least('longest wait', Math.max(...maxima(long.latencies)), 'ms'),
    least('failed writes', failed, '', { must: 0 }),
    least('longest log', mebibytes(logBytes), 'MiB', { must: logMiBMax }),
    least('peak memory over that before', mebibytes(Math.max(0, peakBytes() - residentBefore)), 'MiB'),
  ];

  const beside: number[] = [];
  const alone: number[] = [];
  for (let window = 0; window < size.windows; window += 1) {
    await settled(store);
    const quiet = await requests(4, (done) => done >= size.requests / 10, write);
    alone.push(...quiet.latencies);
    const point = await store.capture('m');
    let isCopied = false;
    const copying = point.copied().then(() => (isCopied = true));
    const during = await requests(4, (done) => isCopied || done >= size.requests, write);
    beside.push(...during.latencies);
    await copying;
    await store.deletePoint(point.reference);
  }
  await store.close();
  return [
    ...figures,
    least('p50 of writes, depth 4', quantile(alone, 0.5), 'ms'),
    least('p50 of writes beside a copy', quantile(beside, 0.5), 'ms'),
    least('p99 of writes, depth 4', quantile(alone, 0.99), 'ms'),
    least('p99 of writes beside a copy', quantile(beside, 0.99), 'ms'),
  ];
}

/** Largest values of parts: all of them at once are too many arguments for `Math.max`. */
function maxima(values: readonly number[]): number[] {
  const parts: number[] = [];
  for (let at = 0; at < values.length; at += 10_000) parts.push(Math.max(...values.slice(at, at + 10_000)));
  return parts;
}
