/** nbdinfo tells what there is, where data is, and what changed between points. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { seededRandom } from '../../src/testing/index.js';
import { noise } from '../input/temporary.js';
import { testSeed } from '../house/seed.js';
import { requireTool } from '../house/tools.js';
import { KiB, MiB, ServedStage } from './nbd-stage.js';
import { run } from './stage.js';

const nbdinfo = requireTool('nbdinfo');

const sizeBytes = 32 * MiB;
const chunkBytes = 64 * KiB;

interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly type: number;
}

let stage: ServedStage;
beforeAll(async () => {
  stage = await ServedStage.make({ os: sizeBytes, data: MiB });
});
afterAll(() => stage.end());

/** Neighbours of one type as one. */
function joined(extents: Iterable<Extent>): Extent[] {
  const all: Extent[] = [];
  for (const extent of extents) {
    const last = all.at(-1);
    if (last?.type === extent.type && last.offset + last.length === extent.offset) {
      all[all.length - 1] = { ...last, length: last.length + extent.length };
    } else {
      all.push(extent);
    }
  }
  return all;
}

describe.skipIf(nbdinfo.isMissing)('nbdinfo', () => {
  const map = async (name: string, context = 'base:allocation'): Promise<Extent[]> => {
    const said = await run(nbdinfo, `--map=${context}`, '--json', stage.uri(name));
    // A cast: what nbdinfo documents; another shape fails every comparison.
    return joined((JSON.parse(said) as Extent[]).map(({ offset, length, type }) => ({ offset, length, type })));
  };

  it('lists every export, and tells its size, rights and contexts', async () => {
    await stage.captured('first');
    const listed = await run(nbdinfo, '--list', stage.uri(''));
    for (const name of ['os', 'data', 'vm/default/first/os', 'vm/default/first/data']) {
      expect(listed).toContain(`export="${name}"`);
    }

    // Casts: as above.
    const live = JSON.parse(await run(nbdinfo, '--json', stage.uri('os'))) as object;
    expect(live).toMatchObject({
      protocol: 'newstyle-fixed',
      structured: true,
      exports: [
        {
          'export-name': 'os',
          'export-size': sizeBytes,
          is_read_only: false,
          can_cache: true,
          can_df: true,
          can_fast_zero: true,
          can_flush: true,
          can_fua: true,
          can_multi_conn: true,
          can_trim: true,
          can_zero: true,
          contexts: ['base:allocation', 'qemu:allocation-depth'],
        },
      ],
    });
    const point = JSON.parse(await run(nbdinfo, '--json', stage.uri('vm/first/data'))) as object;
    expect(point).toMatchObject({ exports: [{ 'export-size': MiB, is_read_only: true, can_multi_conn: true }] });
  });

  it('maps a live disk as a model of what was written to it', async () => {
    const random = seededRandom(testSeed);
    const below = (limit: number): number => random.bytes(4).reduce((value, byte) => value * 256 + byte, 0) % limit;
    const disk = await stage.store.disk('os');
    // A sector each: 0 data, 2 zeros that were written, 3 a hole.
    const model = new Uint8Array(sizeBytes / 512).fill(3);
    for (let index = 0; index < 150; index += 1) {
      const count = 1 + below(300);
      const at = below(model.length - count);
      const kind = below(4);
      if (kind < 2) await disk.write(at * 512, noise(index, count * 512));
      else if (kind === 2) await disk.writeZeroes(at * 512, count * 512);
      else await disk.trim(at * 512, count * 512);
      model.fill(kind < 2 ? 0 : kind === 2 ? 2 : 3, at, at + count);
    }
    const expected = joined(Array.from(model, (type, index) => ({ offset: index * 512, length: 512, type })));

    expect(await map('os')).toEqual(expected);

    // Of a point that was copied, whole chunks: data where a sector of the chunk is not zero.
    await stage.captured('mapped');
    const chunks = Array.from({ length: sizeBytes / chunkBytes }, (_, index) => {
      const sectors = model.subarray((index * chunkBytes) / 512, ((index + 1) * chunkBytes) / 512);
      return { offset: index * chunkBytes, length: chunkBytes, isData: sectors.includes(0) };
    });
    const mapped = await map('vm/mapped/os');
    for (const { offset, length, isData } of chunks) {
      const inside = mapped.filter((each) => each.offset < offset + length && each.offset + each.length > offset);
      expect([offset, inside.some(({ type }) => type === 0)]).toEqual([offset, isData]);
    }
  });

  it('maps the depth of what was written since the last point', async () => {
    const disk = await stage.store.disk('data');
    await disk.write(0, noise(1, 128 * KiB));
    await stage.captured('deep');
    await disk.write(64 * KiB, noise(2, 64 * KiB));

    expect(await map('data', 'qemu:allocation-depth')).toEqual([
      { offset: 0, length: 64 * KiB, type: 2 },
      { offset: 64 * KiB, length: 64 * KiB, type: 1 },
      { offset: 128 * KiB, length: MiB - 128 * KiB, type: 0 },
    ]);
    expect(await map('vm/deep/data', 'qemu:allocation-depth')).toEqual([
      { offset: 0, length: 128 * KiB, type: 1 },
      { offset: 128 * KiB, length: MiB - 128 * KiB, type: 0 },
    ]);
  });

  it('maps the same changes since any other point as diff tells', async () => {
    const disk = await stage.store.disk('os');
    for (const [index, name] of ['one', 'two', 'three'].entries()) {
      for (let place = 0; place < 40; place += 1) {
        await disk.write(((index * 131 + place * 67) % 500) * chunkBytes + 4096, noise(index * 100 + place, 8192));
      }
      await stage.captured(name);
    }
    for (const [since, name] of [
      ['one', 'three'],
      ['two', 'three'],
      ['three', 'one'],
      ['first', 'two'],
    ] as const) {
      const changed: Extent[] = [];
      for await (const { offset, length } of stage.store.diff(`vm/${since}`, `vm/${name}`, { disk: 'os' })) {
        changed.push({ offset, length, type: 1 });
      }
      const told = await map(`vm/${name}/os`, `qemu:dirty-bitmap:${since}`);
      expect(told.filter(({ type }) => type === 1)).toEqual(joined(changed));
      expect(changed.length).toBeGreaterThan(20);
      expect(told.reduce((sum, { length }) => sum + length, 0)).toBe(sizeBytes);
    }
    await expect(map('vm/one/os', 'qemu:dirty-bitmap:nothing')).rejects.toThrow();
  });
});
