/** The recipes of docs/nbd-recipes.md do what they say: each block is run by a shell as it stands there, at another socket. */

import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { requireTool } from '../house/tools.js';
import { noise, still } from '../input/temporary.js';
import { loopIsMissing } from './loop.js';
import { MiB, ServedStage } from './nbd-stage.js';
import { allocatedBytes, hashOf, run } from './stage.js';

const page = readFileSync(new URL('../../docs/nbd-recipes.md', import.meta.url), 'utf8');
const recipes = [...page.matchAll(/^```sh recipe\n([^]*?)^```/gm)].map(([, text = '']) => text);

const mke2fs = requireTool('mke2fs');
const qemuImg = requireTool('qemu-img');
const tools = [
  mke2fs,
  qemuImg,
  ...['nbdcopy', 'nbdinfo', 'nbdfuse', 'mount', 'umount'].map((name) => requireTool(name)),
];
const areMissing = tools.some(({ isMissing }) => isMissing);
const cannotMount = loopIsMissing() || !existsSync('/dev/fuse');
const sizeBytes = 32 * MiB;

describe.skipIf(areMissing)('the recipe', () => {
  let stage: ServedStage;

  beforeAll(async () => {
    stage = await ServedStage.make({ unused: MiB });
    const { store } = stage;
    await mkdir(stage.at('tree/etc'), { recursive: true });
    await writeFile(stage.at('tree/etc/hostname'), 'web1\n');
    const image = stage.at('image.raw');
    await run(mke2fs, '-q', '-F', '-t', 'ext4', '-d', stage.at('tree'), image, String(sizeBytes / 1024));
    await still(image);
    await store.importDisk({ name: 'web1-os', path: image, format: 'raw' });
    await store.createVirtualMachine({ name: 'web1', disks: { os: 'web1-os' } });
    await (await store.capture('web1', { name: 'monday' })).copied();
    await (await store.disk('web1-os')).write(20 * MiB, noise(1, MiB));
    await (await store.capture('web1', { name: 'tuesday' })).copied();
  });
  afterAll(() => stage.end());

  /** What a block printed. */
  const cooked = async (index: number): Promise<string> => {
    const recipe = recipes[index];
    if (recipe === undefined) throw new Error(`docs/nbd-recipes.md has no recipe ${index}`);
    const script = recipe.replaceAll('/run/stillpoint/nbd.sock', stage.socket);
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], { cwd: stage.folder });
    return stdout;
  };

  it('for changed blocks prints what diff tells', async () => {
    const said = (await cooked(0)).split('\n').map((line) => line.trim().split(/\s+/));
    const told = said.filter(([, , type, word]) => type === '1' && word === 'dirty').map(([offset]) => Number(offset));
    const changed: number[] = [];
    for await (const { offset } of stage.store.diff('web1/monday', 'web1/tuesday', { disk: 'os' }))
      changed.push(offset);

    expect(told).toEqual(changed);
    expect(told).toEqual([20 * MiB]);
    expect(said.some(([, , type, ...words]) => type === '3' && words.join(' ') === 'hole,zero')).toBe(true);
  });

  it('for a copy makes a raw image that is the point, and sparse', async () => {
    expect(await cooked(1)).toContain('identical');

    const restored = stage.at('restored.raw');
    await stage.store.restore('web1/tuesday', { disk: 'os', to: restored });
    expect(await hashOf(stage.at('os.raw'))).toBe(await hashOf(restored));
    expect(await allocatedBytes(stage.at('os.raw'))).toBeLessThan(sizeBytes / 2);
  });

  it.skipIf(cannotMount)('for single files gives one back', async () => {
    await cooked(2);

    expect(await readFile(stage.at('restored-hostname'), 'utf8')).toBe('web1\n');
  });

  it('for images of other formats makes a qcow2, and a disk of it', async () => {
    await (await stage.store.disk('web1-os')).write(0, noise(2, 2 * MiB));
    await cooked(3);

    expect(await run(qemuImg, 'check', '-f', 'qcow2', stage.at('os.qcow2'))).toContain('No errors');
    const [live, point] = [stage.uri('web1/os'), stage.uri('web1/tuesday/os')];
    expect(await run(qemuImg, 'compare', '-f', 'raw', '-F', 'raw', live, point)).toContain('identical');
  });

  it('is one of those that are tested here', () => {
    expect(recipes.length).toBe(4);
  });
});
