/**
 * Law: on real files, every point gives back every disk as it was, and the portable reader, which shares no code with
 * the engine, says the same of every point and disk.
 */

import { mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

import { createStore, openStore } from '../../src/index.js';
import { openPortable } from '../../src/portable/index.js';
import {
  historyMachine,
  runHistory,
  sameBytes,
  type DiskModel,
  type History,
  type Images,
} from '../../src/testing/index.js';
import { overSeeds } from '../house/seed-range.js';
import { oneHistory, settingOf, type Setting } from './one-history.js';

function realImages(folder: string): Images {
  const pathOf = (name: string): string => path.join(folder, `${name}.raw`);
  const put = async (name: string, offset: number, bytes: Uint8Array): Promise<void> => {
    const file = await open(pathOf(name), 'r+');
    await file.write(bytes, 0, bytes.length, offset);
    await file.close();
  };
  return {
    install: (name, bytes) => writeFile(pathOf(name), bytes),
    write: put,
    // Node cannot punch holes; zeros read the same.
    punchHole: (name, offset, length) => put(name, offset, new Uint8Array(length)),
    setLength: (name, length) => truncate(pathOf(name), length),
    read: (name) => readFile(pathOf(name)),
    pathOf,
  };
}

async function portableAgrees(storePath: string, model: DiskModel): Promise<void> {
  const portable = await openPortable(storePath);
  try {
    expect(portable.points().map(({ name }) => name)).toEqual(model.points.map(({ name }) => name));
    expect(await portable.verify()).toEqual([]);
    for (const point of model.points) {
      for (const [role, bytes] of point.disks) {
        const found = await portable.readDisk(`${historyMachine}/${point.name}`, role, 0, bytes.length);
        sameBytes(found, bytes, `${point.name}/${role}, by the portable reader`);
      }
    }
  } finally {
    await portable.close();
  }
}

async function agrees(history: History, { chunkBytes, compression }: Setting): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-model-'));
  const storePath = path.join(folder, 'store');
  try {
    await createStore({ path: storePath, chunkBytes, compression });
    const stage = { images: realImages(folder), open: () => openStore({ path: storePath }) };
    const { store, model } = await runHistory(history, stage);
    await store.close();
    await portableAgrees(storePath, model);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

describe('a store on real files', () => {
  it('agrees with the model and the portable reader after any history', { timeout: 7_200_000 }, async () => {
    await overSeeds({ suite: 'model-real-files', quick: 25, full: 2000 }, async (seed) => {
      const setting = settingOf(seed, 50);
      let actions = 0;
      await oneHistory(seed, setting.bounds, async (history) => {
        actions = history.actions.length;
        await agrees(history, setting);
      });
      return { histories: 1, operations: actions };
    });
  });
});
