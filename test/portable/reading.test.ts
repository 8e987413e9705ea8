import { mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { openPortable } from '../../src/portable/index.js';
import { runs } from '../house/size.js';
import { deltas, fulls, noise } from './fixtures/content.mjs';
import frames from './fixtures/frames.json' with { type: 'json' };
import { data, newFolder, newWriter, opened } from './harness.js';
import { chunkContent, codeOf, diskArbitrary } from './model.js';
import { expectedBytes, StoreWriter, type ChunkPlace, type DiskModel } from './store-writer.js';

function frameOf(set: Readonly<Record<string, string>>, name: string): Buffer {
  const text = set[name];
  if (text === undefined) throw new Error(`no fixture ${name}`);
  return Buffer.from(text, 'base64');
}

/** A disk with three data chunks, a fill and holes, whose last chunk is short. */
function smallDisk(role: string, chunkBytes: number): DiskModel {
  const places = new Map<number, ChunkPlace>([
    [0, data(chunkContent(1, chunkBytes))],
    [1, { kind: 'fill', value: 0xe5 }],
    [3, { kind: 'fill', value: 0 }],
    [4, data(chunkContent(2, chunkBytes), 1)],
    [6, data(chunkContent(3, 700))],
  ]);
  return { role, sizeBytes: 6 * chunkBytes + 700, places };
}

/** How many files of a store this process has open. */
async function openPacks(storePath: string): Promise<number> {
  const descriptors = await readdir('/proc/self/fd');
  const names = await Promise.all(descriptors.map((each) => readlink(`/proc/self/fd/${each}`).catch(() => '')));
  return names.filter((name) => name.startsWith(storePath)).length;
}

describe('reading disks', () => {
  it('gives back what was written, by reads of any range, by stream and by restore', async () => {
    const chunkBytes = 16_384;
    const disks = fc.tuple(diskArbitrary('os', chunkBytes, 150), diskArbitrary('data', chunkBytes, 40));
    const range = fc.record({
      disk: fc.nat(1),
      from: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.nat(50_000),
    });
    const options = fc.record({ packFrames: fc.integer({ min: 1, max: 20 }) });
    await fc.assert(
      fc.asyncProperty(disks, fc.array(range, { maxLength: 6 }), options, async (models, ranges, { packFrames }) => {
        const writer = await StoreWriter.create({ chunkBytes, packFrames });
        const target = await mkdtemp(join(tmpdir(), 'portable-target-'));
        const point = await writer.point(models);
        await writer.finish();
        const store = await openPortable(writer.path);
        try {
          expect(store.problems()).toEqual([]);
          for (const { disk, from, length } of ranges) {
            const model = models[disk] ?? models[0];
            const offset = Math.floor(from * model.sizeBytes);
            const bytesMax = Math.min(length, model.sizeBytes - offset);
            const bytes = await store.readDisk(point, model.role, offset, bytesMax);
            expect(Buffer.compare(bytes, expectedBytes(model, chunkBytes, offset, bytesMax))).toBe(0);
          }
          for (const model of models) {
            const whole = expectedBytes(model, chunkBytes, 0, model.sizeBytes);
            const streamed = Buffer.alloc(model.sizeBytes, 0xff);
            let next = 0;
            for await (const extent of store.diskStream(point, model.role)) {
              expect(extent.offset).toBe(next);
              if (extent.kind === 'data') streamed.set(extent.bytes, next);
              else streamed.fill(0, next, next + extent.length);
              next += extent.kind === 'data' ? extent.bytes.length : extent.length;
            }
            expect(next).toBe(model.sizeBytes);
            expect(Buffer.compare(streamed, whole)).toBe(0);
            const file = join(target, model.role);
            await store.restoreDisk(point, model.role, file);
            expect(Buffer.compare(await readFile(file), whole)).toBe(0);
          }
          expect(await store.verify()).toEqual([]);
        } finally {
          await store.close();
          await writer.remove();
          await rm(target, { recursive: true });
        }
      }),
      { numRuns: runs(25, 500) },
    );
  });

  it.each([16_384, 65_536, 262_144, 1_048_576])('reads a store with chunks of %i bytes', async (chunkBytes) => {
    const writer = await newWriter({ chunkBytes });
    const disk = smallDisk('os', chunkBytes);
    const point = await writer.point([disk]);
    await writer.finish();
    const store = await opened(writer);
    const bytes = await store.readDisk(point, 'os', 0, disk.sizeBytes);
    expect(Buffer.compare(bytes, expectedBytes(disk, chunkBytes, 0, disk.sizeBytes))).toBe(0);
    expect(await store.verify()).toEqual([]);
  });

  it.each([
    ['one chunk, height 0', 1],
    ['64 chunks, height 1', 64],
    ['65 chunks, height 2', 65],
    ['64^2 + 1 chunks, height 3', 64 ** 2 + 1],
    ['64^3 + 1 chunks, height 4', 64 ** 3 + 1],
    ['64^5 + 7 chunks, height 6', 64 ** 5 + 7],
  ])('finds single chunks in a tree of %s', async (_name, chunkCount) => {
    const writer = await newWriter();
    const { chunkBytes } = writer;
    const last = chunkCount - 1;
    const places = new Map<number, ChunkPlace>([
      [Math.floor(last / 2), data(chunkContent(4, chunkBytes))],
      [last, data(chunkContent(5, 1000))],
    ]);
    const disk = { role: 'os', sizeBytes: last * chunkBytes + 1000, places };
    const point = await writer.point([disk]);
    await writer.finish();
    const store = await opened(writer);
    for (const chunk of places.keys()) {
      const offset = Math.max(chunk * chunkBytes - 10, 0);
      const length = Math.min(chunkBytes + 20, disk.sizeBytes - offset);
      const bytes = await store.readDisk(point, 'os', offset, length);
      expect(Buffer.compare(bytes, expectedBytes(disk, chunkBytes, offset, length))).toBe(0);
    }
    const kinds: string[] = [];
    for await (const extent of store.diskStream(point, 'os')) kinds.push(extent.kind);
    expect(kinds.filter((kind) => kind === 'data')).toHaveLength(places.size);
    expect(kinds.filter((kind) => kind === 'zero').length).toBeLessThanOrEqual(2);
    expect(await store.verify()).toEqual([]);
  });

  it('reads a whole tree of one fill as that value', async () => {
    const writer = await newWriter();
    const places = new Map(Array.from({ length: 64 }, (_, chunk) => [chunk, { kind: 'fill', value: 9 }] as const));
    const sizeBytes = 64 * writer.chunkBytes;
    const point = await writer.point([{ role: 'os', sizeBytes, places }]);
    expect(await writer.finish()).toEqual([]);
    const store = await opened(writer);
    const bytes = await store.readDisk(point, 'os', 5, sizeBytes - 5);
    expect(bytes.every((byte) => byte === 9)).toBe(true);
  });

  it('reads an empty disk', async () => {
    const writer = await newWriter();
    const point = await writer.point([{ role: 'os', sizeBytes: 0, places: new Map() }]);
    await writer.finish();
    const store = await opened(writer);
    expect(await store.readDisk(point, 'os', 0, 0)).toHaveLength(0);
    expect(await store.verify()).toEqual([]);
  });

  it.each(deltas)('decodes the delta of another encoder: $name', async ({ name, plain, base }) => {
    const writer = await newWriter({ chunkBytes: 1_048_576 });
    const id = writer.delta(plain, base, frameOf(frames.deltas, name));
    expect(frameOf(frames.deltas, name).length).toBeLessThanOrEqual(plain.length);
    const root = { entry: { tag: 'id', id }, height: 0 } as const;
    const point = await writer.point([{ role: 'os', sizeBytes: plain.length, places: new Map(), root }]);
    await writer.finish();
    const store = await opened(writer);
    expect(Buffer.compare(await store.readDisk(point, 'os', 0, plain.length), plain)).toBe(0);
    expect(await store.verify()).toEqual([]);
  });

  it.each(fulls)('decodes the zstd frame of another encoder: $name', async ({ name, plain }) => {
    const writer = await newWriter({ chunkBytes: 1_048_576 });
    const id = writer.idOf('chunk', plain);
    writer.addFrame({ kind: 'chunk', codec: 1, id, plainBytes: plain.length, stored: frameOf(frames.fulls, name) });
    const root = { entry: { tag: 'id', id }, height: 0 } as const;
    const point = await writer.point([{ role: 'os', sizeBytes: plain.length, places: new Map(), root }]);
    await writer.finish();
    const store = await opened(writer);
    expect(Buffer.compare(await store.readDisk(point, 'os', 0, plain.length), plain)).toBe(0);
  });

  it('reads many packs at once without holding them all open', async () => {
    const writer = await newWriter({ packFrames: 1 });
    const places = new Map(
      Array.from({ length: 60 }, (_, chunk) => [chunk, data(noise(chunk + 1, writer.chunkBytes))] as const),
    );
    const disk = { role: 'os', sizeBytes: 60 * writer.chunkBytes, places };
    const point = await writer.point([disk]);
    await writer.finish();
    const store = await opened(writer);
    const reads = Array.from({ length: 600 }, async (_, index) => {
      const chunk = (index * 7) % 60;
      const bytes = await store.readDisk(point, 'os', chunk * writer.chunkBytes, writer.chunkBytes);
      expect(Buffer.compare(bytes, noise(chunk + 1, writer.chunkBytes))).toBe(0);
    });
    await Promise.all(reads);
    expect(await openPacks(writer.path)).toBeLessThanOrEqual(32);
    await store.close();
    expect(await codeOf(store.readDisk(point, 'os', 0, 1))).toBe('STORE_CLOSED');
    expect(await openPacks(writer.path)).toBe(0);
  });

  it('refuses ranges that are not within the disk', async () => {
    const writer = await newWriter();
    const point = await writer.point([smallDisk('os', writer.chunkBytes)]);
    await writer.finish();
    const store = await opened(writer);
    const { sizeBytes } = smallDisk('os', writer.chunkBytes);
    for (const [offset, length] of [
      [-1, 1],
      [0, -1],
      [0.5, 1],
      [0, Number.NaN],
      [sizeBytes, 1],
      [0, sizeBytes + 1],
    ] as const) {
      expect(await codeOf(store.readDisk(point, 'os', offset, length))).toBe('ARGUMENT_INVALID');
    }
    expect(await store.readDisk(point, 'os', sizeBytes, 0)).toHaveLength(0);
  });
});

describe('listing points', () => {
  it('shows what the manifests say, in the order of the cuts', async () => {
    const writer = await newWriter();
    const disk = smallDisk('os', writer.chunkBytes);
    const first = await writer.point([disk]);
    const second = await writer.point([disk], (fields, detail) => {
      const disks = [
        ...(Array.isArray(detail['disks']) ? detail['disks'] : []),
        { id: 'ff', role: 'scratch', name: 's', kind: 'managed', sizeBytes: 1, sectorBytes: 512, excluded: true },
      ];
      return { ...fields, detail: JSON.stringify({ ...detail, disks, unknown: { to: 'us' } }) };
    });
    await writer.finish();
    const store = await opened(writer);
    const points = store.points();
    expect(points.map((point) => point.id)).toEqual([first, second]);
    expect(points[0]).toMatchObject({
      name: 'rp1',
      sequence: 1,
      createdMs: 1_700_000_000_001,
      machine: { name: 'web1', resourceGroup: 'default' },
      collection: { name: 'default' },
      consistency: { requested: null, reached: 'crashConsistent', writers: [] },
      configuration: { cores: 2 },
      disks: [{ role: 'os', sizeBytes: disk.sizeBytes, sectorBytes: 512, excluded: false, source: '/images/os.raw' }],
    });
    expect(points[1]?.disks.map((each) => [each.role, each.excluded])).toEqual([
      ['os', false],
      ['scratch', true],
    ]);
    expect(await codeOf(store.readDisk(second, 'scratch', 0, 0))).toBe('DISK_NOT_FOUND');
  });

  it('finds points by id and by names without case, and says when a name is ambiguous', async () => {
    const writer = await newWriter();
    const disk = smallDisk('os', writer.chunkBytes);
    const first = await writer.point([disk]);
    await writer.point([disk], (fields, detail) => ({
      ...fields,
      detail: JSON.stringify({ ...detail, name: 'rp1', collection: { id: '1', name: 'daily' } }),
    }));
    await writer.finish();
    const store = await opened(writer);
    for (const [point, role] of [
      [first, 'os'],
      ['web1/default/rp1', 'OS'],
      ['WEB1/Daily/RP1', `${'cc'.repeat(12)}00000001`],
    ] as const) {
      expect(await store.readDisk(point, role, 0, 10)).toHaveLength(10);
    }
    expect(await codeOf(store.readDisk('web1/rp1', 'os', 0, 1))).toBe('NAME_AMBIGUOUS');
    for (const point of ['web1', 'web1/rp9', 'a/b/c/d', '0'.repeat(32), '']) {
      expect(await codeOf(store.readDisk(point, 'os', 0, 1))).toBe('POINT_NOT_FOUND');
    }
    expect(await codeOf(store.readDisk(first, 'data', 0, 1))).toBe('DISK_NOT_FOUND');
  });

  it('opens nothing that is no store', async () => {
    const folder = await newFolder();
    expect(await codeOf(openPortable(folder))).toBe('STORE_NOT_FOUND');
    expect(await codeOf(openPortable(join(folder, 'missing')))).toBe('STORE_NOT_FOUND');
    expect(await codeOf(openPortable(''))).toBe('ARGUMENT_INVALID');
  });

  it('ignores unfinished files, and writes nothing', async () => {
    const writer = await newWriter();
    const point = await writer.point([smallDisk('os', writer.chunkBytes)]);
    const files = await writer.finish();
    await writeFile(join(writer.path, `${files[0]}.tmp`), 'unfinished');
    await writeFile(join(writer.path, 'home', 'manifests', 'x.tmp'), 'unfinished');
    const before = await readdir(writer.path, { recursive: true });
    const store = await opened(writer);
    await store.readDisk(point, 'os', 0, 1);
    expect(await store.verify()).toEqual([]);
    expect(await readdir(writer.path, { recursive: true })).toEqual(before);
  });
});

describe('restoring to a file', () => {
  it('leaves holes where the disk reads as zero, and reports progress to the end', async () => {
    const writer = await newWriter();
    const sizeBytes = 64 ** 3 * writer.chunkBytes;
    const places = new Map([[100_000, data(chunkContent(6, writer.chunkBytes))]]);
    const disk = { role: 'os', sizeBytes, places };
    const point = await writer.point([disk]);
    await writer.finish();
    const store = await opened(writer);
    const target = join(await newFolder(), 'os.raw');
    const seen: number[] = [];
    const summary = await store.restoreDisk(point, 'os', target, {
      onProgress: ({ doneBytes }) => seen.push(doneBytes),
    });
    expect(summary).toEqual({ sizeBytes, bytesWritten: writer.chunkBytes });
    const { size, blocks } = await stat(target);
    expect(size).toBe(sizeBytes);
    expect(blocks * 512).toBeLessThan(1024 * 1024);
    expect(seen.at(-1)).toBe(sizeBytes);
    expect(seen).toEqual([...seen].sort((left, right) => left - right));
  });

  it('never writes over anything, not even over a dangling link', async () => {
    const writer = await newWriter();
    const point = await writer.point([smallDisk('os', writer.chunkBytes)]);
    await writer.finish();
    const store = await opened(writer);
    const folder = await newFolder();
    const file = join(folder, 'file');
    const dangling = join(folder, 'dangling');
    await writeFile(file, 'mine');
    await symlink(join(folder, 'nowhere'), dangling);
    for (const target of [file, dangling, folder]) {
      expect(await codeOf(store.restoreDisk(point, 'os', target))).toBe('TARGET_EXISTS');
    }
    expect(await readFile(file, 'utf8')).toBe('mine');
    expect((await readdir(folder)).sort()).toEqual(['dangling', 'file']);
  });

  it('does not replace a file that appears while it runs', async () => {
    const writer = await newWriter();
    const point = await writer.point([smallDisk('os', writer.chunkBytes)]);
    await writer.finish();
    const store = await opened(writer);
    const folder = await newFolder();
    const target = join(folder, 'os.raw');
    let appeared: Promise<void> | undefined;
    const onProgress = (): void => {
      appeared ??= writeFile(target, 'mine');
    };
    expect(await codeOf(store.restoreDisk(point, 'os', target, { onProgress }))).toBe('TARGET_EXISTS');
    await appeared;
    expect(await readFile(target, 'utf8')).toBe('mine');
    expect(await readdir(folder)).toEqual(['os.raw']);
  });

  it('goes on beside other restores and beside what a crash left', async () => {
    const writer = await newWriter();
    const disk = smallDisk('os', writer.chunkBytes);
    const point = await writer.point([disk]);
    await writer.finish();
    const store = await opened(writer);
    const folder = await newFolder();
    const left = `.stillpoint-${process.pid}-0.tmp`;
    await writeFile(join(folder, left), 'left by a crash');
    const names = ['a', 'b', 'c', 'd'];
    await Promise.all(names.map((name) => store.restoreDisk(point, 'os', join(folder, name))));
    const whole = expectedBytes(disk, writer.chunkBytes, 0, disk.sizeBytes);
    for (const name of names) expect(Buffer.compare(await readFile(join(folder, name)), whole)).toBe(0);
    expect((await readdir(folder)).sort()).toEqual([left, ...names]);
  });

  it('leaves nothing behind when it is cancelled', async () => {
    const writer = await newWriter();
    const point = await writer.point([smallDisk('os', writer.chunkBytes)]);
    await writer.finish();
    const store = await opened(writer);
    const folder = await newFolder();
    const controller = new AbortController();
    const options = { signal: controller.signal, onProgress: () => controller.abort() };
    expect(await codeOf(store.restoreDisk(point, 'os', join(folder, 'os.raw'), options))).toBe('CANCELLED');
    expect(await codeOf(store.verify({ signal: controller.signal }))).toBe('CANCELLED');
    expect(await readdir(folder)).toEqual([]);
  });

  it('says which target cannot be written', async () => {
    const writer = await newWriter();
    const point = await writer.point([smallDisk('os', writer.chunkBytes)]);
    await writer.finish();
    const store = await opened(writer);
    const target = join(await newFolder(), 'missing', 'os.raw');
    expect(await codeOf(store.restoreDisk(point, 'os', target))).toBe('IO_FAILED');
    expect(await codeOf(store.restoreDisk(point, 'os', ''))).toBe('ARGUMENT_INVALID');
  });
});
