/**
 * What happens to writers that never pause, and to those who write beside a copy?
 *
 * Unit: random 4 KiB writes of 16 writers to a disk of 8 GiB, so that each is a chunk of its own to fold, more bytes than a log may
 * hold: a first half, in which the log fills, and a second one; then 4 writers for windows beside a copy and without. Expected:
 * the rate falls to that of folding (a chunk of 64 KiB read, hashed and compressed for 4 KiB changed: 100 to 200 us) once the log
 * is full; no write fails, the log ends at 1 GiB that is not copied, 1 GiB that the window keeps, and its last segments.
 */

import process from 'node:process';

import { leastOf, mostOf, type Figure } from '../figure.js';
import { blocks, KiB, liveStore, MiB, placesOn, quantile, requests, settled } from './load.js';
import { mebibytes, peakBytes } from '../scale/measure.js';
import type { LiveContext, LiveSuite } from './size.js';

const least = leastOf('sustained');
const most = mostOf('sustained');
const sizeBytes = 8192 * MiB;
const logMiBMax = 1024 + 1024 + 192;

export const sustained: LiveSuite = {
  name: 'sustained',
  question: 'What happens to writers that never pause, and to those who write beside a copy?',
  run,
};

async function run({ size, directory, say }: LiveContext): Promise<Figure[]> {
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
  const count = size.sustainedBytes / 2 / (4 * KiB);
  const first = await requests(16, (done) => done >= count, write);
  const logBytesBetween = logBytes;
  const second = await requests(16, (done) => done >= count, write);
  const longest = Math.max(...maxima(first.latencies), ...maxima(second.latencies));
  say(
    `sustained: ${Math.round(first.perSecond)}, then ${Math.round(second.perSecond)} a second, longest ${longest.toFixed(0)} ms`,
  );
  const figures = [
    most('rate of the first half', first.perSecond, 'per s'),
    most('rate of the second half', second.perSecond, 'per s'),
    least('p50 in the second half', quantile(second.latencies, 0.5), 'ms'),
    least('p99 in the second half', quantile(second.latencies, 0.99), 'ms'),
    least('longest wait', longest, 'ms'),
    least('longest log in the first half', mebibytes(logBytesBetween), 'MiB'),
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
