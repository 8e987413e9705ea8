import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { openPortable, PortableError, type PortableProblem, type PortableStore } from '../../src/portable/index.js';
import { runs } from '../house/size.js';
import { noise } from './fixtures/content.mjs';
import { data, newWriter, opened } from './harness.js';
import { changeFile, codeOf, flipped } from './model.js';
import { expectedBytes, StoreWriter, type ChunkPlace, type DiskModel } from './store-writer.js';

/** Bytes of a disk that a list of problems says cannot be read, chunk by chunk. */
function hitChunks(
  problems: readonly PortableProblem[],
  pointId: string,
  diskId: string,
  chunkBytes: number,
): ReadonlySet<number> {
  const chunks = new Set<number>();
  const hits = problems.flatMap((problem) => problem.hits);
  for (const { ranges } of hits.filter((hit) => hit.pointId === pointId && hit.diskId === diskId)) {
    for (const { offset, length } of ranges) {
      for (let at = offset; at < offset + length; at += chunkBytes) chunks.add(at / chunkBytes);
    }
  }
  return chunks;
}

/**
 * The law of a damaged store: verification finds something; each chunk of each disk reads as the model says or its
 * read rejects; and what rejects is exactly what verification says is hit.
 */
async function checkLaw(
  path: string,
  chunkBytes: number,
  points: ReadonlyMap<string, readonly DiskModel[]>,
): Promise<void> {
  let store: PortableStore;
  try {
    store = await openPortable(path);
  } catch (error) {
    // Only config cut off within its first copy does this.
    expect(error).toMatchObject({ code: 'STORE_DAMAGED', context: { file: 'config' } });
    return;
  }
  try {
    const problems = await store.verify();
    expect(problems).not.toEqual([]);
    const listed = new Map(store.points().map((point) => [point.id, point]));
    for (const [pointId, disks] of points) {
      const point = listed.get(pointId);
      if (point === undefined) {
        expect(problems.some((problem) => problem.file.includes(pointId))).toBe(true);
        expect(['MANIFEST_DAMAGED', 'POINT_NOT_FOUND']).toContain(await codeOf(store.readDisk(pointId, 'os', 0, 0)));
        continue;
      }
      for (const [index, disk] of disks.entries()) {
        const diskId = point.disks[index]?.id ?? '';
        const hit = hitChunks(problems, pointId, diskId, chunkBytes);
        const unread = new Set<number>();
        for (let chunk = 0; chunk * chunkBytes < disk.sizeBytes; chunk += 1) {
          const offset = chunk * chunkBytes;
          const length = Math.min(chunkBytes, disk.sizeBytes - offset);
          try {
            const bytes = await store.readDisk(pointId, disk.role, offset, length);
            expect(Buffer.compare(bytes, expectedBytes(disk, chunkBytes, offset, length))).toBe(0);
          } catch (error) {
            if (!(error instanceof PortableError)) throw error;
            unread.add(chunk);
          }
        }
        expect(unread).toEqual(hit);
      }
    }
  } finally {
    await store.close();
  }
}

describe('a store of two points with every kind of frame', () => {
  const chunkBytes = 16_384;
  let whole: StoreWriter;
  let files: readonly string[];
  const points = new Map<string, readonly DiskModel[]>();

  beforeAll(async () => {
    whole = await StoreWriter.create({ chunkBytes, packFrames: 4 });
    // Short chunks keep the files small, so that flips fall on headers and trailers too.
    const base = noise(100, 300);
    const changed = base.slice();
    changed.set([1, 2, 3], 50);
    const os = new Map<number, ChunkPlace>([
      [0, data(base)],
      [1, data(Buffer.alloc(500, 'abc'), 1)],
      [2, { kind: 'delta', plain: changed, base }],
      [66, data(noise(101, 200))],
      [70, { kind: 'fill', value: 3 }],
    ]);
    const later = new Map(os).set(3, data(noise(102, 100))).set(66, data(noise(103, 40)));
    const first = [
      { role: 'os', sizeBytes: 72 * chunkBytes + 40, places: os },
      { role: 'data', sizeBytes: 3 * chunkBytes, places: new Map([[1, data(noise(102, 100))]]) },
    ];
    const second = [{ role: 'os', sizeBytes: 80 * chunkBytes, places: later.set(79, data(noise(104, 40))) }];
    points.set(await whole.point(first), first);
    points.set(await whole.point(second), second);
    files = ['config', ...[...points.keys()].map((id) => `home/manifests/${id}.manifest`), ...(await whole.finish())];
  });

  afterAll(() => whole.remove());

  /** Runs `body` on a copy of the store. */
  async function onCopy(body: (path: string) => Promise<void>): Promise<void> {
    const path = await mkdtemp(join(tmpdir(), 'portable-copy-'));
    try {
      await cp(whole.path, path, { recursive: true });
      await body(path);
    } finally {
      await rm(path, { recursive: true });
    }
  }

  it('has nothing wrong with it', async () => {
    const store = await opened(whole);
    expect(await store.verify()).toEqual([]);
  });

  it('never gives wrong bytes, and says what is hit, whichever byte is flipped', async () => {
    const flip = fc.record({
      file: fc.nat(files.length - 1),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      bit: fc.nat(7),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(flip, { minLength: 1, maxLength: 2 }), async (flips) => {
        // Two flips of one bit would undo each other.
        fc.pre(new Set(flips.map(({ file }) => file)).size === flips.length);
        await onCopy(async (path) => {
          for (const { file, at, bit } of flips) {
            await changeFile(path, files[file] ?? '', (bytes) =>
              flipped(bytes, Math.min(Math.floor(at * bytes.length), bytes.length - 1), 1 << bit),
            );
          }
          await checkLaw(path, chunkBytes, points);
        });
      }),
      { numRuns: runs(150, 5000) },
    );
  });

  it('never gives wrong bytes when a file is cut off or has something appended', async () => {
    const change = fc.record({
      file: fc.nat(files.length - 1),
      keep: fc.double({ min: 0, max: 1, noNaN: true }),
      more: fc.nat(60),
    });
    await fc.assert(
      fc.asyncProperty(change, async ({ file, keep, more }) => {
        await onCopy(async (path) => {
          await changeFile(path, files[file] ?? '', (bytes) =>
            more > 30
              ? Buffer.concat([bytes, noise(more, more)])
              : bytes.subarray(0, Math.floor(keep * (bytes.length - 1))),
          );
          await checkLaw(path, chunkBytes, points);
        });
      }),
      { numRuns: runs(50, 2000) },
    );
  });

  it('names the points that a missing pack hits', async () => {
    for (const file of files.filter((each) => each.startsWith('home/packs'))) {
      await onCopy(async (path) => {
        await rm(join(path, file));
        await checkLaw(path, chunkBytes, points);
      });
    }
  });

  it('reads everything when all trailers are gone', async () => {
    await onCopy(async (path) => {
      for (const file of files.filter((each) => each.startsWith('home/packs'))) {
        await changeFile(path, file, (bytes) => bytes.subarray(0, bytes.length - 1));
      }
      const store = await openPortable(path);
      try {
        const problems = await store.verify();
        expect(new Set(problems.map((problem) => problem.code))).toEqual(new Set(['STORE_DAMAGED']));
        expect(problems.flatMap((problem) => problem.hits)).toEqual([]);
      } finally {
        await store.close();
      }
      await checkLaw(path, chunkBytes, points);
    });
  });

  it('reads everything when all pack headers are damaged', async () => {
    await onCopy(async (path) => {
      const packs = files.filter((each) => each.startsWith('home/packs'));
      for (const file of packs) await changeFile(path, file, (bytes) => flipped(bytes, 52));
      const store = await openPortable(path);
      await store.close();
      expect(store.problems()).toHaveLength(packs.length);
      await checkLaw(path, chunkBytes, points);
    });
  });
});

describe('damage and what it hits', () => {
  it('is passed over while another frame of the same id is sound', async () => {
    const writer = await newWriter({ packFrames: 1 });
    const plain = noise(3, 16_384);
    const id = writer.chunk(plain);
    writer.addFrame({ kind: 'chunk', codec: 0, id, plainBytes: plain.length, stored: plain });
    const disk = { role: 'os', sizeBytes: 16_384, places: new Map([[0, data(plain)]]) };
    const point = await writer.point([disk]);
    const packs = await writer.finish();
    for (const pack of packs) {
      const before = await readFile(join(writer.path, pack));
      await changeFile(writer.path, pack, (bytes) => flipped(bytes, 1000));
      const store = await opened(writer);
      expect(Buffer.compare(await store.readDisk(point, 'os', 0, 16_384), plain)).toBe(0);
      const [problem, ...others] = await store.verify();
      expect(problem).toMatchObject({ code: 'CHUNK_DAMAGED', file: pack, offset: 64, hits: [] });
      expect(others).toEqual([]);
      await changeFile(writer.path, pack, () => before);
    }
  });

  it('names each point, disk and merged range', async () => {
    const writer = await newWriter();
    const shared = noise(4, 16_384);
    const places = new Map([1, 2, 5].map((chunk) => [chunk, data(shared)] as const));
    // Two whole nodes, one of them shared by all three disks.
    const disk = { role: 'os', sizeBytes: 128 * 16_384, places };
    const first = await writer.point([disk]);
    const second = await writer.point([disk, { ...disk, role: 'data' }]);
    const packs = await writer.finish();
    const chunks = packs.find((pack) => pack.endsWith('.chunks')) ?? '';
    await changeFile(writer.path, chunks, (bytes) => flipped(bytes, 5000));
    const store = await opened(writer);
    const ranges = [
      { offset: 16_384, length: 32_768 },
      { offset: 5 * 16_384, length: 16_384 },
    ];
    const diskIds = store.points()[1]?.disks.map((each) => each.id) ?? [];
    expect(await store.verify()).toEqual([
      {
        code: 'CHUNK_DAMAGED',
        message: expect.stringContaining('checksum'),
        file: chunks,
        offset: 64,
        length: 72 + 16_384,
        hits: [
          { pointId: first, diskId: diskIds[0], ranges },
          { pointId: second, diskId: diskIds[0], ranges },
          { pointId: second, diskId: diskIds[1], ranges },
        ],
      },
    ]);
  });

  it('is found in a node that is sound elsewhere but reaches past the end here', async () => {
    const writer = await newWriter();
    const places = new Map([3, 40].map((chunk) => [chunk, data(noise(chunk, 300))] as const));
    const larger = { role: 'os', sizeBytes: 64 * 16_384, places };
    const root = writer.root(larger);
    const point = await writer.point([larger, { role: 'data', sizeBytes: 10 * 16_384, places: new Map(), root }]);
    await writer.finish();
    const store = await opened(writer);
    const ranges = [{ offset: 0, length: 10 * 16_384 }];
    const diskId = store.points()[0]?.disks[1]?.id;
    expect(await store.verify()).toMatchObject([{ code: 'NODE_DAMAGED', hits: [{ pointId: point, diskId, ranges }] }]);
    expect(await store.readDisk(point, 'os', 3 * 16_384, 300)).toEqual(noise(3, 300));
    expect(await codeOf(store.readDisk(point, 'data', 0, 1))).toBe('NODE_DAMAGED');
  });

  it('takes the delta with its base', async () => {
    const writer = await newWriter();
    const base = noise(6, 16_384);
    const plain = base.slice();
    plain.set([1, 1, 1, 1], 200);
    const places = new Map<number, ChunkPlace>([[1, { kind: 'delta', plain, base }]]);
    const point = await writer.point([{ role: 'os', sizeBytes: 2 * 16_384, places }]);
    const packs = await writer.finish();
    const chunks = packs.find((pack) => pack.endsWith('.chunks')) ?? '';
    await changeFile(writer.path, chunks, (bytes) => flipped(bytes, 5000));
    const store = await opened(writer);
    const problems = await store.verify();
    expect(problems.map((problem) => [problem.code, problem.hits.length])).toEqual([
      ['CHUNK_DAMAGED', 0],
      ['CHUNK_DAMAGED', 1],
    ]);
    expect(await codeOf(store.readDisk(point, 'os', 16_384, 10))).toBe('CHUNK_DAMAGED');
    expect(await store.readDisk(point, 'os', 0, 16_384)).toEqual(new Uint8Array(16_384));
  });

  it('leaves no target behind when a restore meets it', async () => {
    const writer = await newWriter();
    const places = new Map([[0, data(noise(7, 16_384))]]);
    const point = await writer.point([{ role: 'os', sizeBytes: 16_384, places }]);
    const [pack = ''] = await writer.finish();
    await changeFile(writer.path, pack, (bytes) => flipped(bytes, 5000));
    const store = await opened(writer);
    const target = join(writer.path, 'os.raw');
    expect(await codeOf(store.restoreDisk(point, 'os', target))).toBe('CHUNK_DAMAGED');
    await expect(readFile(target)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
