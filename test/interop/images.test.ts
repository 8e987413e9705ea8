/** QEMU's tools agree that a restored image is the one that was captured, whatever it was made from. */

import { open } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { imageKind } from '../../src/images/image-kind.js';
import { openPortable } from '../../src/portable/index.js';
import { requireTool } from '../house/tools.js';
import { allocatedBytes, hashOf, run, Stage } from './stage.js';

const qemuImg = requireTool('qemu-img');
const qemuIo = requireTool('qemu-io');
const mebibyte = 1 << 20;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.make();
});
afterAll(() => stage.end());

describe.skipIf(qemuImg.isMissing || qemuIo.isMissing)('an image that QEMU wrote', () => {
  it('is identical for qemu-img after a restore, by the engine and by the portable reader', async () => {
    const image = stage.at('qemu.raw');
    await run(qemuImg, 'create', '-q', '-f', 'raw', image, '48M');
    await run(qemuIo, '-f', 'raw', '-c', 'write -P 0x5a 3M 1M', '-c', 'write -P 0x11 40001k 12k', image);
    const point = await stage.capture('qemu', image, 'one');

    const byEngine = await stage.restored(point);
    expect(await run(qemuImg, 'compare', '-f', 'raw', '-F', 'raw', image, byEngine)).toContain('identical');

    const reader = await openPortable(stage.storePath);
    const byReader = stage.at('portable.raw');
    await reader.restoreDisk('qemu/one', 'os', byReader);
    await reader.close();
    expect(await run(qemuImg, 'compare', '-f', 'raw', '-F', 'raw', image, byReader)).toContain('identical');
  });

  it('converted from qcow2 equals the qcow2 after a restore', async () => {
    const container = stage.at('disk.qcow2');
    const raw = stage.at('converted.raw');
    await run(qemuImg, 'create', '-q', '-f', 'qcow2', container, '32M');
    await run(qemuIo, '-f', 'qcow2', '-c', 'write -P 7 1M 5M', '-c', 'write -z 2M 64k', container);
    await run(qemuImg, 'convert', '-f', 'qcow2', '-O', 'raw', container, raw);
    const restored = await stage.restored(await stage.capture('converted', raw, 'one'));

    expect(await run(qemuImg, 'compare', '-f', 'qcow2', '-F', 'raw', container, restored)).toContain('identical');
    expect(await run(qemuImg, 'check', container)).toContain('No errors');
  });

  it('comes back as the container that it is where a container was captured', async () => {
    const container = stage.at('kept.qcow2');
    await run(qemuImg, 'create', '-q', '-f', 'qcow2', container, '32M');
    await run(qemuIo, '-f', 'qcow2', '-c', 'write -P 9 0 128k', container);
    const restored = await stage.restored(await stage.capture('kept', container, 'one'));

    expect(await hashOf(restored)).toBe(await hashOf(container));
    expect(await run(qemuImg, 'check', '-f', 'qcow2', restored)).toContain('No errors');
  });

  it.each(['raw', 'qcow2', 'vmdk', 'vhdx', 'vpc', 'vdi'])(
    'of the format %s is known by its first bytes',
    async (format) => {
      const names: Readonly<Record<string, string>> = { vmdk: 'VMDK', vhdx: 'VHDX', vpc: 'VHD', vdi: 'VDI' };
      const image = stage.at(`kind.${format}`);
      await run(qemuImg, 'create', '-q', '-f', format, image, '8M');

      expect(await imageKind(image)).toBe(names[format] ?? format);
    },
  );
});

describe('a sparse image', () => {
  const chunkBytes = 65_536;

  /** 256 MiB with three runs of data, each of two chunks and `extraBytes`, that begin `shiftBytes` behind a chunk's start. */
  const sparseImage = async (name: string, shiftBytes: number, extraBytes: number): Promise<string> => {
    const image = stage.at(`${name}.raw`);
    const bytes = 2 * chunkBytes + extraBytes;
    const file = await open(image, 'w');
    for (const at of [0, 17, 211]) await file.write(Buffer.alloc(bytes, at + 1), 0, bytes, at * mebibyte + shiftBytes);
    await file.truncate(256 * mebibyte);
    await file.close();
    return image;
  };

  it('takes no more blocks after a restore, to a new file and over an old one', async () => {
    const image = await sparseImage('sparse', 0, 0);
    const point = await stage.capture('sparse', image, 'one');
    const limit = await allocatedBytes(image);
    expect(limit).toBeLessThan(mebibyte);
    expect(await allocatedBytes(await stage.restored(point))).toBeLessThanOrEqual(limit);

    // An old target full of something else: what reads as zero is given back to its file system.
    const old = stage.at('old.raw');
    const dirty = await open(old, 'w');
    await dirty.write(Buffer.alloc(16 * mebibyte, 0xee));
    await dirty.truncate(256 * mebibyte);
    await dirty.close();
    await stage.store.restore(point.reference, { disk: 'os', to: old, overwrite: true });
    expect(await hashOf(old)).toBe(await hashOf(image));
    expect(await allocatedBytes(old)).toBeLessThanOrEqual(limit);
  });

  it('takes whole chunks after a restore where its runs of data begin and end inside of one', async () => {
    const point = await stage.capture('ragged', await sparseImage('ragged', 4096, 4096), 'one');
    expect(await allocatedBytes(await stage.restored(point))).toBeLessThanOrEqual(3 * 3 * chunkBytes);
  });
});
