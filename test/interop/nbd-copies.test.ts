/** Images go in and out of live disks, points and scratch copies with nbdcopy and qemu-img, and stay what they are. */

import { truncate } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { noise } from '../input/temporary.js';
import { requireTool } from '../house/tools.js';
import { KiB, MiB, ServedStage, sparseImage } from './nbd-stage.js';
import { allocatedBytes, hashOf, run } from './stage.js';

const nbdcopy = requireTool('nbdcopy');
const qemuImg = requireTool('qemu-img');

const sizeBytes = 96 * MiB;

let stage: ServedStage;
beforeAll(async () => {
  stage = await ServedStage.make({ os: sizeBytes, data: sizeBytes, odd: 8 * MiB + 512 });
});
afterAll(() => stage.end());

describe.skipIf(nbdcopy.isMissing)('nbdcopy', () => {
  const copy = (from: string, to: string): Promise<string> =>
    run(nbdcopy, '--flush', '--connections=4', '--requests=32', from, to);

  it('copies a sparse image in and out over four connections, and space stays where data is', async () => {
    const image = stage.at('in.raw');
    await sparseImage(image, sizeBytes, 1);
    await copy(image, stage.uri('os'));
    await stage.captured('copied');

    for (const [index, name] of ['os', 'vm/copied/os', 'scratch:vm/copied/os'].entries()) {
      const out = stage.at(`out-${index}.raw`);
      await copy(stage.uri(name), out);
      expect([name, await hashOf(out)]).toEqual([name, await hashOf(image)]);
      expect(await allocatedBytes(out), name).toBeLessThanOrEqual((await allocatedBytes(image)) + 64 * 64 * KiB);
    }
    const restored = stage.at('restored.raw');
    await stage.store.restore('vm/copied', { disk: 'os', to: restored });
    expect(await hashOf(restored)).toBe(await hashOf(image));
  });

  it('copies from disk to disk', async () => {
    await copy(stage.uri('vm/copied/os'), stage.uri('data'));

    const out = stage.at('data.raw');
    await copy(stage.uri('data'), out);
    expect(await hashOf(out)).toBe(await hashOf(stage.at('in.raw')));
  });

  it('copies disks whose size is no multiple of a block', async () => {
    const image = stage.at('odd.raw');
    await sparseImage(image, 8 * MiB + 512, 2);
    await copy(image, stage.uri('odd'));
    const out = stage.at('odd-out.raw');
    await copy(stage.uri('odd'), out);

    expect(await hashOf(out)).toBe(await hashOf(image));
  });

  it('copies a point while it is copied into chunks behind, and writers write on', async () => {
    const image = stage.at('moving.raw');
    await sparseImage(image, sizeBytes, 3);
    await copy(image, stage.uri('os'));
    const disk = await stage.store.disk('os');
    const captured = await stage.store.capture('vm', { name: 'moving' });
    const over = new AbortController();
    const writer = (async () => {
      for (let round = 0; !over.signal.aborted; round += 1)
        await disk.write((round * 37 * 64 * KiB) % (64 * MiB), noise(round, 16 * KiB));
    })();

    const [during, after] = [stage.at('during.raw'), stage.at('after.raw')];
    try {
      await Promise.all([copy(stage.uri('vm/moving/os'), during), captured.copied()]);
      await copy(stage.uri('vm/moving/os'), after);
    } finally {
      over.abort();
      await writer;
    }

    expect(await hashOf(during)).toBe(await hashOf(image));
    expect(await hashOf(after)).toBe(await hashOf(image));
  });
});

describe.skipIf(qemuImg.isMissing)('qemu-img', () => {
  it('converts a qcow2 image in, compares, maps, and converts out again', async () => {
    const raw = stage.at('qemu.raw');
    const [container, back] = [stage.at('in.qcow2'), stage.at('out.qcow2')];
    await sparseImage(raw, sizeBytes, 4);
    await run(qemuImg, 'convert', '-f', 'raw', '-O', 'qcow2', raw, container);

    await run(qemuImg, 'convert', '-n', '-W', '-f', 'qcow2', '-O', 'raw', container, stage.uri('os'));
    expect(await run(qemuImg, 'compare', '-f', 'qcow2', '-F', 'raw', container, stage.uri('os'))).toContain(
      'identical',
    );
    await stage.captured('converted');
    const point = stage.uri('vm/converted/os');
    expect(await run(qemuImg, 'compare', '-f', 'raw', '-F', 'raw', raw, point)).toContain('identical');

    await run(qemuImg, 'convert', '-f', 'raw', '-O', 'qcow2', point, back);
    expect(await run(qemuImg, 'compare', '-f', 'qcow2', '-F', 'qcow2', container, back)).toContain('identical');
    expect(await run(qemuImg, 'check', back)).toContain('No errors');
    expect(await allocatedBytes(back)).toBeLessThan(1.5 * (await allocatedBytes(container)) + 8 * MiB);
  });

  it('maps a point as the runs of data that it has', async () => {
    interface Mapped {
      readonly start: number;
      readonly length: number;
      readonly zero: boolean;
    }
    const said = await run(qemuImg, 'map', '-f', 'raw', '--output=json', stage.uri('vm/converted/os'));
    // A cast: the shape is documented by QEMU, and a wrong one fails the comparison.
    const map = JSON.parse(said) as Mapped[];
    expect(map.reduce((end, { start, length }) => (start === end ? end + length : Number.NaN), 0)).toBe(sizeBytes);

    for (const { start, length, zero } of map) {
      const bytes = await stage.store.read('vm/converted', { disk: 'os', offset: start, length });
      const isZero = Buffer.from(bytes).equals(Buffer.alloc(length));
      expect([start, length, zero, isZero]).toEqual([start, length, zero, zero]);
    }
  });

  it('measures and informs about an export', async () => {
    const info = JSON.parse(await run(qemuImg, 'info', '--output=json', '-f', 'raw', stage.uri('data'))) as object;
    expect(info).toMatchObject({ 'virtual-size': sizeBytes, format: 'raw' });

    const file = stage.at('measured.raw');
    await sparseImage(file, MiB, 5);
    await truncate(file, sizeBytes);
    expect(await run(qemuImg, 'measure', '-f', 'raw', '-O', 'qcow2', stage.uri('data'))).toContain('required size');
  });
});
