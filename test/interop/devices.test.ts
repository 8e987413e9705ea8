/** Block devices as sources and targets: real ones, as far as a loop device is one. */

import { cp, mkdir, open, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { requireTool } from '../house/tools.js';
import { attachLoop, detachLoop, loopIsMissing } from './loop.js';
import { hashOf, run, Stage } from './stage.js';

const mke2fs = requireTool('mke2fs');
const e2fsck = requireTool('e2fsck');
const mount = requireTool('mount');
const umount = requireTool('umount');
const areMissing = [mke2fs, e2fsck, mount, umount].some(({ isMissing }) => isMissing) || loopIsMissing();

const sizeBytes = 24 << 20;

describe.skipIf(areMissing)('a block device', () => {
  let stage: Stage;
  let image: string;
  let device: string;
  let mountPoint: string;
  const devices: string[] = [];

  const attach = (file: string): string => {
    const made = attachLoop(file);
    devices.push(made);
    return made;
  };

  const targetOf = async (name: string, bytes: number): Promise<string> => {
    await writeFile(stage.at(name), Buffer.alloc(bytes, 0xee));
    return attach(stage.at(name));
  };

  beforeAll(async () => {
    stage = await Stage.make();
    image = stage.at('device.raw');
    mountPoint = stage.at('mounted');
    await mkdir(mountPoint);
    await mkdir(stage.at('tree'));
    await writeFile(stage.at('tree/hello'), 'hello from a device\n'.repeat(5000));
    await run(mke2fs, '-q', '-F', '-t', 'ext4', '-d', stage.at('tree'), image, String(sizeBytes >> 10));
    device = attach(image);
  });

  afterAll(async () => {
    for (const each of devices) detachLoop(each);
    await stage.end();
  });

  it('is captured whole and comes back as a file', async () => {
    const point = await stage.capture('device', device, 'idle');
    expect(point.disks[0]).toMatchObject({ sizeBytes, source: device });
    const restored = await stage.restored(point);
    expect(await hashOf(restored)).toBe(await hashOf(device));
    expect(await run(e2fsck, '-f', '-n', restored)).toMatch(/\d+\/\d+ files/);
  });

  it('is refused while it is mounted, unless somebody vouches for it; its copy then mounts', async () => {
    await run(mount, device, mountPoint);
    try {
      await expect(stage.store.capture('device', { name: 'busy' })).rejects.toMatchObject({
        code: 'SOURCE_NOT_EXCLUSIVE',
      });
      expect((await stage.store.restorePoints('device')).map(({ name }) => name)).not.toContain('busy');
      const point = await stage.store.capture('device', { name: 'vouched', frozen: true });
      expect(point.consistency.reached).toBe('crashConsistent');
    } finally {
      await run(umount, mountPoint);
    }
    const copy = stage.at('vouched.raw');
    await stage.store.restore('device/vouched', { disk: 'os', to: copy });
    await run(mount, attach(copy), mountPoint);
    try {
      expect(await readFile(`${mountPoint}/hello`, 'utf8')).toContain('hello from a device');
    } finally {
      await run(umount, mountPoint);
    }
  });

  it('is written over where that was asked for, zeros included', async () => {
    const target = await targetOf('target.raw', sizeBytes);
    const to = { disk: 'os', to: target };
    await expect(stage.store.restore('device/idle', to)).rejects.toMatchObject({ code: 'TARGET_EXISTS' });
    await stage.store.restore('device/idle', { ...to, overwrite: true });
    const restored = stage.at('again.raw');
    await stage.store.restore('device/idle', { disk: 'os', to: restored });
    expect(await hashOf(target)).toBe(await hashOf(restored));
  });

  it('that is larger than the disk keeps what lies behind it', async () => {
    const target = await targetOf('larger.raw', sizeBytes + 65_536);
    await stage.store.restore('device/idle', { disk: 'os', to: target, overwrite: true });
    const file = await open(target, 'r');
    const { buffer } = await file.read(Buffer.alloc(65_536), 0, 65_536, sizeBytes);
    await file.close();
    expect(buffer.every((byte) => byte === 0xee)).toBe(true);
  });

  it('that is too small, or mounted, is left as it is', async () => {
    const small = await targetOf('small.raw', sizeBytes / 2);
    const before = await hashOf(small);
    await expect(stage.store.restore('device/idle', { disk: 'os', to: small, overwrite: true })).rejects.toMatchObject({
      code: 'TARGET_TOO_SMALL',
    });
    expect(await hashOf(small)).toBe(before);

    const busy = stage.at('busy.raw');
    await cp(image, busy);
    const mounted = attach(busy);
    await run(mount, mounted, mountPoint);
    try {
      await expect(
        stage.store.restore('device/idle', { disk: 'os', to: mounted, overwrite: true }),
      ).rejects.toMatchObject({ code: 'TARGET_INVALID' });
    } finally {
      await run(umount, mountPoint);
    }
    expect(await run(e2fsck, '-f', '-n', mounted)).toMatch(/\d+\/\d+ files/);
  });

  it('that grew is captured in its new size', async () => {
    const file = stage.at('growing.raw');
    await writeFile(file, Buffer.alloc(1 << 20, 1));
    const first = attach(file);
    await stage.capture('growing', first, 'small');
    detachLoop(devices.splice(devices.indexOf(first), 1)[0] ?? first);
    await truncate(file, 2 << 20);
    const second = attach(file);
    await stage.store.updateVirtualMachine('growing', { paths: { os: second } });
    const point = await stage.capture('growing', second, 'large');
    expect(point.disks[0]?.sizeBytes).toBe(2 << 20);
    expect((await stat(await stage.restored(point))).size).toBe(2 << 20);
  });
});
