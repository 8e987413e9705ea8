/**
 * Does a disk of 64 TiB cost what is on it, or what it could hold?
 *
 * Unit: one call of the library; a sparse image with 64 chunks spread over all of it, which has 1,074 million places for
 * chunks. Where the file system's files end earlier (16 TiB on ext4) the disk is as long as they can be. Expected: a
 * capture asks the file system for 64 ranges of data. What lies between is 17 million spans of holes: as long as each is gone
 * through, some hundred nanoseconds each, seconds in all.
 */

import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import path from 'node:path';

import { createStore, openStore, type Store } from 'stillpoint';

import { figuresOf, type ScaleFigure } from './figure.js';
import { mebibytes, millisecondsOf, peakBytes } from './measure.js';
import type { ScaleContext, ScaleSuite } from './size.js';

const figure = figuresOf('sparse disk');
const chunkBytes = 65_536;
const dataChunks = 64;
const machine = 'm';

/** Where files of 64 TiB can be, when the bench's directory has none: a file system in memory. */
const memoryDirectory = '/dev/shm';

export const sparse: ScaleSuite = {
  name: 'sparse',
  question: 'Does a disk of 64 TiB cost what is on it, or what it could hold?',
  run,
};

async function run({ size, directory, say }: ScaleContext): Promise<ScaleFigure[]> {
  const place = await imagePlace(directory, size.sparseBytes);
  try {
    const image = path.join(place.directory, 'image.raw');
    await makeImage(image, place.bytes);
    say(`sparse: a disk of ${place.bytes / 2 ** 40} TiB`);
    const storePath = path.join(directory, 'store');
    await createStore({ path: storePath });
    await using store = await openStore({ path: storePath });
    await store.createVirtualMachine({ name: machine, disks: [{ role: 'os', external: image }] });
    return await measure(store, image, place);
  } finally {
    await place.remove();
  }
}

async function measure(store: Store, image: string, place: ImagePlace): Promise<ScaleFigure[]> {
  const before = peakBytes();
  const first = await millisecondsOf(() => captured(store, 'p1'));
  await writeChunk(image, place.bytes / 2, 'changed');
  const second = await millisecondsOf(() => captured(store, 'p2'));
  const list = await millisecondsOf(() => store.restorePoints(machine));
  let extents = 0;
  const diff = await millisecondsOf(async () => {
    for await (const extent of store.diff(`${machine}/p1`, `${machine}/p2`, { disk: 'os' })) extents += extent.length;
  });
  if (extents !== chunkBytes) throw new Error(`${extents} bytes differ where one chunk was changed`);
  const target = path.join(place.directory, 'restored.raw');
  const restore = await millisecondsOf(() => store.restore(`${machine}/p2`, { disk: 'os', to: target, sync: false }));
  const restored = await stat(target);
  if (restored.size !== place.bytes || restored.blocks * 512 > 2 * dataChunks * chunkBytes) {
    throw new Error(`the restored disk is ${restored.size} bytes long and takes ${restored.blocks * 512}`);
  }
  return [
    figure('size in TiB', place.bytes / 2 ** 40, 'count'),
    figure('first capture', first, 'ms'),
    figure('capture after one change', second, 'ms'),
    figure('list', list, 'ms'),
    figure('diff', diff, 'ms'),
    figure('restore, not synced', restore, 'ms'),
    figure('peak memory, all of it', mebibytes(peakBytes() - before), 'MiB'),
  ];
}

interface ImagePlace {
  readonly directory: string;
  readonly bytes: number;
  readonly remove: () => Promise<void>;
}

/** A directory whose files can be that long, or nearly. */
async function imagePlace(directory: string, bytes: number): Promise<ImagePlace> {
  if (await holds(directory, bytes)) return { directory, bytes, remove: () => Promise.resolve() };
  try {
    const inMemory = await mkdtemp(path.join(memoryDirectory, 'stillpoint-sparse-'));
    const remove = (): Promise<void> => rm(inMemory, { recursive: true, force: true });
    if (await holds(inMemory, bytes)) return { directory: inMemory, bytes, remove };
    await remove();
  } catch {
    // There is no such file system here.
  }
  return imagePlace(directory, bytes / 2);
}

async function holds(directory: string, bytes: number): Promise<boolean> {
  const file = path.join(directory, 'length.probe');
  const handle = await open(file, 'w');
  try {
    await handle.truncate(bytes);
    return true;
  } catch {
    return false;
  } finally {
    await handle.close();
    await rm(file);
  }
}

async function makeImage(file: string, bytes: number): Promise<void> {
  const handle = await open(file, 'w');
  await handle.truncate(bytes);
  await handle.close();
  for (let index = 0; index < dataChunks; index += 1)
    await writeChunk(file, (bytes / dataChunks) * index, `chunk ${index}`);
}

async function writeChunk(file: string, offset: number, text: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    await handle.write(Buffer.alloc(chunkBytes, `${text} `), 0, chunkBytes, offset);
  } finally {
    await handle.close();
  }
}

async function captured(store: Store, name: string): Promise<void> {
  for (;;) {
    try {
      await store.capture(machine, { name });
      return;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'SOURCE_NOT_STILL')) throw error;
    }
  }
}
