/**
 * How long does an open take that finds a log nobody closed?
 *
 * Unit: MiB of 4 KiB records, written by a process that was killed; everything in the page cache. Expected: records that were not
 * known to be durable are read, checked and written anew and synced, so a few hundred MiB/s; of full segments only headers
 * count.
 */

import { performance } from 'node:perf_hooks';

import { openStore } from 'stillpoint';

import { leastOf, mostOf, type Figure } from '../figure.js';
import { liveStore, MiB } from './load.js';
import { anonymousBytes, mebibytes, median, millisecondsOf } from '../scale/measure.js';
import type { LiveContext, LiveSuite } from './size.js';

const least = leastOf('open');
const most = mostOf('open');

export const opening: LiveSuite = {
  name: 'open',
  question: 'How long does an open take that finds a log nobody closed?',
  run,
};

async function run({ size, directory, leaveLog, say }: LiveContext): Promise<Figure[]> {
  const made = await liveStore(directory, 1, 512 * MiB);
  await made.store.close();
  const times: number[] = [];
  const logs: number[] = [];
  let anonymous = 0;
  for (let run = 0; run < size.runs; run += 1) {
    await leaveLog(made.path, size.replayBytes);
    const before = anonymousBytes();
    const startedMs = performance.now();
    const opened = await openStore({ path: made.path });
    times.push(performance.now() - startedMs);
    anonymous = Math.max(anonymous, anonymousBytes() - before);
    logs.push((await opened.status()).live.logBytes);
    await opened.close();
    say(`open: ${Math.round(times.at(-1) ?? 0)} ms`);
  }
  const empty: number[] = [];
  for (let run = 0; run < size.runs; run += 1) {
    empty.push(await millisecondsOf(async () => (await openStore({ path: made.path })).close()));
  }
  return [
    least(`open with ${Math.round(mebibytes(size.replayBytes))} MiB in the log`, times, 'ms'),
    most(
      'replay',
      times.map((took) => (mebibytes(size.replayBytes) * 1000) / Math.max(took - median(empty), took / 10)),
      'MiB/s',
    ),
    least('open and close with an empty log', empty, 'ms'),
    least('anonymous memory of an open', Math.max(0, mebibytes(anonymous)), 'MiB'),
    least('log afterwards', logs.map(mebibytes), 'MiB'),
  ];
}
