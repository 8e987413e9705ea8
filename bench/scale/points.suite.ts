/**
 * Is a machine with 500 points as quick as one with five?
 *
 * Unit: library calls in an open store; a machine of two small disks whose points differ a little, with a configuration of
 * two kilobytes. Expected: a listing comes from memory: 500 points of 2 us. A deletion is two batches of the catalog
 * and a removed name, each synced: five syncs. An open reads 500 manifests of 4 KiB (0.1 ms each with their JSON).
 */

import { open } from 'node:fs/promises';
import path from 'node:path';

import { createStore, openStore, type Store } from 'stillpoint';

import { figuresOf, type ScaleFigure } from './figure.js';
import { anonymousBytes, mebibytes, median, timesOf } from './measure.js';
import type { ScaleContext, ScaleSuite } from './size.js';

const figure = figuresOf('points');
const chunkBytes = 65_536;
const diskChunks = 64;
const machine = 'm';

export const points: ScaleSuite = {
  name: 'points',
  question: 'Is a machine with 500 points as quick as one with five?',
  run,
};

/** As a hypervisor keeps it: forty devices with some words each. */
const configuration = {
  vmSize: 'Standard_D8s_v5',
  devices: Array.from({ length: 40 }, (_, slot) => ({ slot, kind: 'network', address: `02:00:00:00:00:${slot}` })),
};

async function run({ size, directory, say }: ScaleContext): Promise<ScaleFigure[]> {
  const storePath = path.join(directory, 'store');
  const images = ['os', 'data'].map((role) => ({ role, external: path.join(directory, `${role}.raw`) }));
  for (const { external } of images) await writeChunks(external, 0, diskChunks);
  await createStore({ path: storePath });
  const store = await openStore({ path: storePath });
  await store.createVirtualMachine({ name: machine, disks: images, configuration });

  say(`points: ${size.points} captures`);
  const captures = await timesOf(size.points, async (number) => {
    const [os] = images;
    if (os !== undefined) await writeChunks(os.external, number + 1, 1);
    await captured(store);
  });
  const figures = [
    figure('points', size.points, 'count'),
    figure('capture: median of the first ten', median(captures.slice(0, 10)), 'ms'),
    figure('capture: median of the last ten', median(captures.slice(-10)), 'ms'),
    figure('list', median(await timesOf(size.runs, () => store.restorePoints(machine))), 'ms', { must: 50 }),
  ];
  await store.close();

  const before = anonymousBytes();
  const opens = await timesOf(size.runs, async () => {
    await (await openStore({ path: storePath })).close();
  });
  figures.push(figure('open and close', median(opens), 'ms'));
  await using again = await openStore({ path: storePath });
  figures.push(figure('open: anonymous memory, the runtime with it', mebibytes(anonymousBytes() - before), 'MiB'));
  figures.push(...(await deletions(again, size.runs)));
  return figures;
}

/** Deletes points from the oldest to the newest, spread over all. */
async function deletions(store: Store, runs: number): Promise<ScaleFigure[]> {
  const all = await store.restorePoints(machine);
  const count = Math.min(runs, all.length);
  const chosen = Array.from(
    { length: count },
    (_, index) => all[Math.floor((index * (all.length - 1)) / Math.max(count - 1, 1))],
  );
  const times: number[] = [];
  for (const point of chosen) {
    if (point !== undefined) times.push(...(await timesOf(1, () => store.deletePoint(point.reference))));
  }
  return [
    figure('delete: median', median(times), 'ms', { must: 50 }),
    figure(`delete: worst of ${times.length}`, Math.max(...times), 'ms', { must: 50 }),
  ];
}

/** Captures as soon as the source counts as still: it was written to a moment ago. */
async function captured(store: Store): Promise<void> {
  for (;;) {
    try {
      await store.capture(machine);
      return;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'SOURCE_NOT_STILL')) throw error;
    }
  }
}

/** Writes chunks that no other number gives; the first place is as good as any. */
async function writeChunks(file: string, number: number, count: number): Promise<void> {
  const handle = await open(file, number === 0 ? 'w' : 'r+');
  try {
    for (let chunk = 0; chunk < count; chunk += 1) {
      const bytes = Buffer.alloc(chunkBytes, `${path.basename(file)} ${number} ${chunk} `);
      await handle.write(bytes, 0, bytes.length, chunk * chunkBytes);
    }
  } finally {
    await handle.close();
  }
}
