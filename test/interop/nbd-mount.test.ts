/** File systems of points and scratch copies are mounted through nbdfuse and a loop device, and single files come back. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { unmount } from '../house/mounts.js';
import { requireTool } from '../house/tools.js';
import { letters } from '../input/temporary.js';
import { detachLoop, loopIsMissing } from './loop.js';
import { MiB, ServedStage } from './nbd-stage.js';
import { hashOf, run } from './stage.js';

const tools = {
  nbdfuse: requireTool('nbdfuse'),
  nbdcopy: requireTool('nbdcopy'),
  losetup: requireTool('losetup'),
  mke2fs: requireTool('mke2fs'),
  e2fsck: requireTool('e2fsck'),
  mount: requireTool('mount'),
};
const areMissing =
  Object.values(tools).some(({ isMissing }) => isMissing) || loopIsMissing() || !existsSync('/dev/fuse');

const sizeBytes = 48 * MiB;

describe.skipIf(areMissing)('the file system of', () => {
  let stage: ServedStage;
  const undo: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    stage = await ServedStage.make({ os: sizeBytes });
    await mkdir(stage.at('tree/folder'), { recursive: true });
    for (let index = 0; index < 20; index += 1) {
      await writeFile(stage.at(`tree/folder/${index}`), letters(index, 1000 * (index + 1) ** 2));
    }
    const image = stage.at('image.raw');
    await run(tools.mke2fs, '-q', '-F', '-t', 'ext4', '-d', stage.at('tree'), image, String(sizeBytes / 1024));
    await run(tools.nbdcopy, '--flush', image, stage.uri('os'));
    await stage.captured('rp1');
    await mkdir(stage.at('mounted'));
  });

  afterEach(async () => {
    while (undo.length > 0) await undo.pop()?.();
  });

  afterAll(() => stage.end());

  /** A file that is an export; then a loop device of it; then what is on that, mounted. */
  async function mounted(name: string, readOnly: boolean): Promise<string> {
    const file = stage.at(`disk-${readOnly ? 'point' : 'scratch'}`);
    await writeFile(file, '');
    const fuse: ChildProcess = spawn(tools.nbdfuse.path, [...(readOnly ? ['-r'] : []), file, stage.uri(name)], {
      stdio: 'ignore',
    });
    undo.push(async () => {
      const closed = once(fuse, 'close');
      await unmount(file);
      await closed;
    });
    await expect.poll(() => statSync(file).size, { timeout: 20_000, interval: 20 }).toBe(sizeBytes);
    const device = (await run(tools.losetup, ...(readOnly ? ['--read-only'] : []), '--find', '--show', file)).trim();
    undo.push(() => {
      detachLoop(device);
      return Promise.resolve();
    });
    await run(tools.mount, '-o', readOnly ? 'ro,noload' : 'rw', device, stage.at('mounted'));
    undo.push(() => unmount(stage.at('mounted')));
    return device;
  }

  it('a restore point gives single files back, and cannot be written', async () => {
    await mounted('vm/rp1/os', true);

    for (let index = 0; index < 20; index += 1) {
      expect(await hashOf(stage.at(`mounted/folder/${index}`))).toBe(await hashOf(stage.at(`tree/folder/${index}`)));
    }
    await expect(writeFile(stage.at('mounted/folder/1'), 'x')).rejects.toThrow('EROFS');
  });

  it('a scratch copy can be written, and the point stays what it was', async () => {
    const device = await mounted('scratch:vm/rp1/os', false);
    await writeFile(stage.at('mounted/folder/1'), 'changed');
    await writeFile(stage.at('mounted/new'), letters(99, 4 * MiB), { flush: true });
    expect(await readFile(stage.at('mounted/folder/1'), 'utf8')).toBe('changed');
    await undo.pop()?.();
    expect(await run(tools.e2fsck, '-f', '-n', device)).toMatch(/\d+\/\d+ files/);
    while (undo.length > 0) await undo.pop()?.();

    const copied = stage.at('copied.raw');
    await run(tools.nbdcopy, stage.uri('vm/rp1/os'), copied);
    expect(await hashOf(copied)).toBe(await hashOf(stage.at('image.raw')));
    // A scratch copy that is asked for anew is as the point.
    await expect.poll(async () => (await stage.store.status()).disks).toBe(1);
    await mounted('scratch:vm/rp1/os', false);
    expect(await hashOf(stage.at('mounted/folder/1'))).toBe(await hashOf(stage.at('tree/folder/1')));
    expect(existsSync(stage.at('mounted/new'))).toBe(false);
  });
});
