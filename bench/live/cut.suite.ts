/**
 * Who notices a cut, and how soon has its caller an answer?
 *
 * Unit: a machine of 8 disks, written to by 16 writers of 4 KiB; windows of seconds with a capture every 100 ms, each point deleted
 * when the next is answered, alternate with windows without: all that two cores can do; then, once the layers that this left are
 * folded, captures beside 3,200 writes a second, which is the load that QEMU's figures were taken at (DESIGN section 9), and of the
 * idle machine. Expected: a cut is one pointer exchanged under the sequencer's lock, a few microseconds for 8 disks; an answer is
 * one sync of what the log has since the last one, and four small ones of the catalog.
 */

import { performance } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';

import type { Store } from 'stillpoint';

import { openMeasured } from './probe.js';
import { leastOf, type Figure } from '../figure.js';
import { blocks, KiB, liveStore, MiB, placesOn, quantile, requests, settled } from './load.js';
import type { LiveContext, LiveSuite } from './size.js';

const figure = leastOf('cut');
const diskCount = 8;
const diskBytes = 64 * MiB;
const everyMs = 100;
/** So many writers, each of which writes once in so many milliseconds: 3,200 writes a second. */
const steadyWriters = 32;
const steadyMs = 10;

export const cuts: LiveSuite = {
  name: 'cut',
  question: 'Who notices a cut, and how soon has its caller an answer?',
  run,
};

interface Captures {
  /** Milliseconds from call to answer. */
  readonly answersMs: number[];
  /** Microseconds that the cut held the append lock. */
  readonly heldUs: number[];
}

async function run({ size, directory, say }: LiveContext): Promise<Figure[]> {
  const made = await liveStore(directory, diskCount, diskBytes);
  await made.store.close();
  const { store, lastCutHeldNs } = await openMeasured(made.path);
  const disks = await Promise.all(made.disks.map(({ name }) => store.disk(name)));
  const block = blocks(4 * KiB);
  const place = placesOn(diskBytes, 4 * KiB, 2);
  const captures: Captures = { answersMs: [], heldUs: [] };
  const latencies: { with: number[][]; without: number[][] } = { with: [], without: [] };
  for (let window = 0; window < size.windows * 2; window += 1) {
    const hasCuts = window % 2 === 1;
    const endMs = performance.now() + size.windowMs;
    const isOver = (): boolean => performance.now() >= endMs;
    const cutting = hasCuts ? cutEvery(store, isOver, lastCutHeldNs, captures) : Promise.resolve();
    const taken = await requests(16, isOver, async (index) => disks[index % diskCount]?.write(place(), block(index)));
    await cutting;
    latencies[hasCuts ? 'with' : 'without'].push([...taken.latencies]);
    say(
      `cut: ${hasCuts ? 'with' : 'without'}: ${Math.round(taken.perSecond)} writes a second, p99.9 ${quantile(taken.latencies, 0.999).toFixed(2)} ms`,
    );
  }
  await settled(store);
  const steady: Captures = { answersMs: [], heldUs: [] };
  const isSteadyOver = (): boolean => steady.answersMs.length >= size.captures;
  const steadyCuts = cutEvery(store, isSteadyOver, lastCutHeldNs, steady);
  await requests(steadyWriters, isSteadyOver, async (index) => {
    await Promise.all([disks[index % diskCount]?.write(place(), block(index)), pause(steadyMs)]);
  });
  await steadyCuts;
  const idle: Captures = { answersMs: [], heldUs: [] };
  await cutEvery(store, () => idle.answersMs.length >= size.captures, lastCutHeldNs, idle);
  await store.close();
  const ofWindows = (windows: readonly number[][], share: number): number[] =>
    windows.map((window) => quantile(window, share));
  const [p999With, p999Without] = [ofWindows(latencies.with, 0.999), ofWindows(latencies.without, 0.999)];
  const ratios = p999With.map((value, window) => value / (p999Without[window] ?? Number.NaN));
  return [
    figure('append lock held under load, p50', quantile(captures.heldUs, 0.5), 'us'),
    figure('append lock held under load, p99', quantile(captures.heldUs, 0.99), 'us', { must: 100, aim: 20 }),
    figure('append lock held when idle, p50', quantile(idle.heldUs, 0.5), 'us'),
    figure('append lock held when idle, p99', quantile(idle.heldUs, 0.99), 'us'),
    figure('p50 of writes without cuts', ofWindows(latencies.without, 0.5), 'ms'),
    figure('p50 of writes with cuts', ofWindows(latencies.with, 0.5), 'ms'),
    figure('p99.9 of writes without cuts', p999Without, 'ms'),
    figure('p99.9 of writes with cuts', p999With, 'ms'),
    figure('p99.9 with cuts to that without', ratios, 'times', { must: 1.3, aim: 1.1 }),
    figure('capture to answer under full load, p50', quantile(captures.answersMs, 0.5), 'ms', { must: 5, aim: 2 }),
    figure('capture to answer under full load, p99', quantile(captures.answersMs, 0.99), 'ms'),
    figure('capture to answer at 3,200 writes/s, p50', quantile(steady.answersMs, 0.5), 'ms', { must: 5, aim: 2 }),
    figure('capture to answer at 3,200 writes/s, p99', quantile(steady.answersMs, 0.99), 'ms'),
    figure('capture to answer when idle, p50', quantile(idle.answersMs, 0.5), 'ms'),
    figure('capture to answer when idle, p99', quantile(idle.answersMs, 0.99), 'ms'),
    { ...figure('captures under load', captures.answersMs.length, ''), isMost: true },
  ];
}

/** Captures at a beat; each point goes when the next is answered. */
async function cutEvery(store: Store, isOver: () => boolean, heldNs: () => number, captures: Captures): Promise<void> {
  let before: string | null = null;
  while (!isOver()) {
    const startedMs = performance.now();
    const { reference } = await store.capture('m');
    captures.answersMs.push(performance.now() - startedMs);
    captures.heldUs.push(heldNs() / 1000);
    if (before !== null) await store.deletePoint(before);
    before = reference;
    await pause(Math.max(0, everyMs - (performance.now() - startedMs)));
  }
  if (before !== null) await store.deletePoint(before);
}
