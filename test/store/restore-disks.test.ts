/**
 * Several disks are restored into a directory: all of them, or nothing of what the call made is left.
 *
 * Method: the engine in memory, which writes real files, is made to fail at its second restore.
 */

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { StillpointError } from '../../src/store/errors.js';
import type { Store } from '../../src/store/handles.js';
import { restoreInto } from '../../src/store/target-directory.js';
import { World } from './world.js';

let directory: string;
let world: World;
let store: Store;

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'stillpoint-'));
  ({ world, store } = await World.make());
  world.setDisk('os', 1);
  world.setDisk('data', 2, 8192);
  await store.capture('web1', { name: 'a' });
});

afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true });
});

const at = (...names: readonly string[]): string => path.join(directory, ...names);
const os = Buffer.alloc(4096, 1);
const data = Buffer.alloc(8192, 2);

/** Everything below the test's directory. */
const files = (): Promise<string[]> => readdir(directory, { recursive: true }).then((names) => names.toSorted());

/** Runs `stop` when the engine is about to restore its second disk. */
function atSecondDisk(stop: () => void | Promise<void>): void {
  let count = 0;
  world.onEngineStep = (step) => {
    if (step !== 'restore') return undefined;
    count += 1;
    return count === 2 ? stop() : undefined;
  };
}

const failAtSecondDisk = (): void => {
  atSecondDisk(() => {
    throw new StillpointError('CHUNK_DAMAGED', 'a chunk is damaged');
  });
};

describe('disks restored into a directory', () => {
  it('are all that the point has, in a directory that is made', async () => {
    const report = await store.restoreDisks('web1/a', { directory: at('x', 'y') });

    expect(report).toEqual({
      disks: [
        { disk: 'os', to: at('x', 'y', 'os.raw'), sizeBytes: 4096, bytesWritten: 4096 },
        { disk: 'data', to: at('x', 'y', 'data.raw'), sizeBytes: 8192, bytesWritten: 8192 },
      ],
    });
    expect(await readFile(at('x', 'y', 'os.raw'))).toEqual(os);
    expect(await readFile(at('x', 'y', 'data.raw'))).toEqual(data);
  });

  it('are not those that the capture left out', async () => {
    await store.capture('web1', { name: 'b', exclude: ['os'] });
    await store.restoreDisks('web1/b', { directory: at('x') });

    expect(await files()).toEqual(['x', 'x/data.raw']);
    await expect(store.restoreDisks('web1/b', { directory: at('y'), disks: ['os'] })).rejects.toMatchObject({
      code: 'DISK_NOT_FOUND',
    });
  });

  it('are those that are named, each once, whatever the case', async () => {
    const { disks } = await store.restoreDisks('web1/a', { directory, disks: ['DATA', 'data'] });

    expect(disks.map(({ disk }) => disk)).toEqual(['data']);
    expect(await files()).toEqual(['data.raw']);
  });

  it('are refused as a whole when one of the roles is unknown, before a directory is made', async () => {
    const restoring = store.restoreDisks('web1/a', { directory: at('x'), disks: ['os', 'swap'] });

    await expect(restoring).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' });
    expect(await files()).toEqual([]);
  });

  it('tell their progress as one, which only grows and ends with the sum of the sizes', async () => {
    const told: number[] = [];
    await store.restoreDisks('web1/a', {
      directory,
      onProgress: ({ doneBytes, totalBytes }) => {
        expect(totalBytes).toBe(12_288);
        told.push(doneBytes);
      },
    });

    expect(told).toEqual(told.toSorted((left, right) => left - right));
    expect(told.at(-1)).toBe(12_288);
  });

  it('are not begun when one of the files exists', async () => {
    await writeFile(at('data.raw'), 'mine');

    await expect(store.restoreDisks('web1/a', { directory })).rejects.toMatchObject({
      code: 'TARGET_EXISTS',
      context: { path: at('data.raw') },
    });
    expect(world.steps).not.toContain('restore');
    expect(await readFile(at('data.raw'), 'utf8')).toBe('mine');
    expect(await files()).toEqual(['data.raw']);
  });

  it('go over files that exist and make the others when that is asked for', async () => {
    await writeFile(at('data.raw'), Buffer.alloc(8192, 9));
    await store.restoreDisks('web1/a', { directory, overwrite: true });

    expect(await readFile(at('os.raw'))).toEqual(os);
    expect(await readFile(at('data.raw'))).toEqual(data);
  });

  it('are refused where a file is in the place of the directory', async () => {
    await writeFile(at('x'), 'mine');

    for (const place of [at('x'), at('x', 'y')]) {
      await expect(store.restoreDisks('web1/a', { directory: place })).rejects.toMatchObject({
        code: 'TARGET_INVALID',
      });
    }
    expect(await readFile(at('x'), 'utf8')).toBe('mine');
  });

  it('leave neither files nor directories of their own when one of them fails', async () => {
    failAtSecondDisk();

    await expect(store.restoreDisks('web1/a', { directory: at('x', 'y') })).rejects.toMatchObject({
      code: 'CHUNK_DAMAGED',
    });
    expect(await files()).toEqual([]);
  });

  it('stop those that run beside one that fails, and are not begun after it', async () => {
    const disks = ['a', 'b', 'c'].map((role) => ({ role, sizeBytes: 1 }));
    const begun: string[] = [];
    const target = { directory: at('x'), format: 'raw', overwrite: false, sync: false } as const;
    const restored = restoreInto(target, disks, 2, {}, async ({ role }, { targetPath }, { signal }) => {
      begun.push(role);
      if (role === 'b') throw new StillpointError('CHUNK_DAMAGED', 'a chunk is damaged');
      await new Promise((stopped) => signal?.addEventListener('abort', stopped));
      await writeFile(targetPath, 'a');
      return { sizeBytes: 1, bytesWritten: 1 };
    });
    await expect(restored).rejects.toMatchObject({ code: 'CHUNK_DAMAGED' });
    expect(begun).toEqual(['a', 'b']);
    expect(await files()).toEqual([]);
  });

  it('leave what was in the directory before when one of them fails, also a file that was written over', async () => {
    await writeFile(at('os.raw'), Buffer.alloc(4096, 9));
    await writeFile(at('notes'), 'mine');
    failAtSecondDisk();

    await expect(store.restoreDisks('web1/a', { directory, overwrite: true })).rejects.toMatchObject({
      code: 'CHUNK_DAMAGED',
    });
    expect(await files()).toEqual(['notes', 'os.raw']);
  });

  it('leave a directory that they made when somebody else has put a file there', async () => {
    atSecondDisk(async () => {
      await writeFile(at('x', 'notes'), 'mine');
      throw new StillpointError('CHUNK_DAMAGED', 'a chunk is damaged');
    });

    await expect(store.restoreDisks('web1/a', { directory: at('x') })).rejects.toMatchObject({ code: 'CHUNK_DAMAGED' });
    expect(await files()).toEqual(['x', 'x/notes']);
  });

  it('leave nothing when they are cancelled between two disks', async () => {
    const controller = new AbortController();
    atSecondDisk(() => {
      controller.abort();
    });

    const restoring = store.restoreDisks('web1/a', { directory: at('x'), signal: controller.signal });
    await expect(restoring).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(await files()).toEqual([]);
  });

  it('leave nothing when their point is deleted between two disks', async () => {
    atSecondDisk(() => store.deletePoint('web1/a'));

    const restoring = store.restoreDisks('web1/a', { directory: at('x') });
    await expect(restoring).rejects.toMatchObject({ code: 'POINT_NOT_FOUND' });
    expect(await files()).toEqual([]);
  });
});
