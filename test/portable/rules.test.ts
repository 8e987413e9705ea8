import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { openPortable, type PortableStore } from '../../src/portable/index.js';
import { noise } from './fixtures/content.mjs';
import {
  configBlock,
  deltaFrame,
  Fields,
  nodeBytes,
  packBytes,
  xxh64,
  zstdFrame,
  type ConfigFields,
  type Entry,
  type FrameFields,
  type ManifestFields,
  type PackFields,
} from './format-writer.js';
import { newWriter, opened } from './harness.js';
import { lz4Block } from './lz4-block.js';
import { changeFile, codeOf, flipped } from './model.js';
import { type StoreWriter, testId, type DiskModel } from './store-writer.js';

const chunkBytes = 16_384;
const hole: Entry = { tag: 'hole' };
const fill = (value: number): Entry => ({ tag: 'fill', value });

function oneChunk(plain: Uint8Array): DiskModel {
  return { role: 'os', sizeBytes: plain.length, places: new Map([[0, { kind: 'data', plain, codec: 0 }]]) };
}

describe('config', () => {
  async function withBlocks(
    change: (fields: ConfigFields) => ConfigFields,
    which: readonly number[],
    edit: (block: Buffer) => Buffer = (block) => block,
  ): Promise<StoreWriter> {
    const writer = await newWriter();
    const fields = { storeId: writer.storeId, chunkBytes, domains: [{ number: 0, key: writer.identityKey }] };
    const blocks = [0, 1].map((index) =>
      which.includes(index) ? edit(configBlock(change(fields))) : configBlock(fields),
    );
    await writeFile(join(writer.path, 'config'), Buffer.concat(blocks));
    return writer;
  }

  it.each([[[0]], [[1]], [[0, 1]]])('of a newer version in block %j refuses the store', async (which) => {
    const writer = await withBlocks((fields) => ({ ...fields, version: 2 }), which);
    expect(await codeOf(openPortable(writer.path))).toBe('STORE_NEWER_FORMAT');
  });

  it.each([
    [0, 0],
    [1, 19],
    [2, 0],
  ])('with codec %i at level %i is read', async (codec, level) => {
    const writer = await withBlocks((fields) => ({ ...fields, codec: [codec, level] }), [0, 1]);
    expect((await opened(writer)).problems()).toEqual([]);
  });

  it('with a wrapped key is of a newer format', async () => {
    const wrapped = (fields: ConfigFields): ConfigFields => ({
      ...fields,
      domains: fields.domains.map((domain) => ({ ...domain, form: 2 })),
    });
    const writer = await withBlocks(wrapped, [0, 1]);
    expect(await codeOf(openPortable(writer.path))).toBe('STORE_NEWER_FORMAT');
  });

  it('with one damaged copy is reported and read all the same', async () => {
    const writer = await newWriter();
    const point = await writer.point([oneChunk(noise(1, 600))]);
    await writer.finish();
    for (const at of [0, 8, 4000, 4096, 4104, 8191]) {
      await changeFile(writer.path, 'config', (bytes) => flipped(bytes, at));
      const store = await opened(writer);
      expect(store.problems()).toMatchObject([{ code: 'STORE_DAMAGED', file: 'config', offset: at < 4096 ? 0 : 4096 }]);
      expect(await store.readDisk(point, 'os', 0, 600)).toEqual(noise(1, 600));
      await changeFile(writer.path, 'config', (bytes) => flipped(bytes, at));
    }
  });

  it('with two damaged copies is refused', async () => {
    const writer = await newWriter();
    await changeFile(writer.path, 'config', (bytes) => flipped(flipped(bytes, 100), 5000));
    expect(await codeOf(openPortable(writer.path))).toBe('STORE_DAMAGED');
  });

  it.each<[string, (fields: ConfigFields) => ConfigFields]>([
    ['a chunk size that does not exist', (fields) => ({ ...fields, chunkBytes: 8192 })],
    ['version 0', (fields) => ({ ...fields, version: 0 })],
    ['a codec that does not exist', (fields) => ({ ...fields, codec: [4, 0] })],
    ['deltas for its codec', (fields) => ({ ...fields, codec: [3, 0] })],
    ['a level of a codec without levels', (fields) => ({ ...fields, codec: [2, 1] })],
    ['no key domain', (fields) => ({ ...fields, domains: [] })],
    ['a key domain twice', (fields) => ({ ...fields, domains: [...fields.domains, ...fields.domains] })],
    [
      'an unknown form of key',
      (fields) => ({ ...fields, domains: fields.domains.map((domain) => ({ ...domain, form: 3 })) }),
    ],
  ])('with %s is refused though its checksum holds', async (_name, change) => {
    const writer = await withBlocks(change, [0, 1]);
    expect(await codeOf(openPortable(writer.path))).toBe('STORE_DAMAGED');
  });
});

describe('manifests', () => {
  type Change = (fields: ManifestFields, detail: Record<string, unknown>) => ManifestFields;

  const detailOf = (change: (detail: Record<string, unknown>) => Record<string, unknown>): Change => {
    return (fields, detail) => ({ ...fields, detail: JSON.stringify(change(detail)) });
  };

  it.each<[string, Change, string]>([
    ['a newer version', (fields) => ({ ...fields, version: 2 }), 'STORE_NEWER_FORMAT'],
    ['another store', (fields) => ({ ...fields, storeId: testId(1, 1) }), 'MANIFEST_DAMAGED'],
    ['another chunk size', (fields) => ({ ...fields, chunkBytes: 65_536 }), 'MANIFEST_DAMAGED'],
    ['a detail that is no JSON', (fields) => ({ ...fields, detail: '{"name":' }), 'MANIFEST_DAMAGED'],
    ['a detail without a name', detailOf((detail) => ({ ...detail, name: undefined })), 'MANIFEST_DAMAGED'],
    ['another time in the detail', detailOf((detail) => ({ ...detail, createdMs: 5 })), 'MANIFEST_DAMAGED'],
    ['a detail without disks', detailOf((detail) => ({ ...detail, disks: [] })), 'MANIFEST_DAMAGED'],
    [
      'a sector size that does not exist',
      (fields) => ({ ...fields, disks: fields.disks.map((disk) => ({ ...disk, sectorBytes: 1024 })) }),
      'MANIFEST_DAMAGED',
    ],
    [
      'an unknown key domain',
      (fields) => ({ ...fields, disks: fields.disks.map((disk) => ({ ...disk, domain: 7 })) }),
      'MANIFEST_DAMAGED',
    ],
    [
      'a root of the wrong height',
      (fields) => ({ ...fields, disks: fields.disks.map((disk) => ({ ...disk, root: { entry: hole, height: 2 } })) }),
      'MANIFEST_DAMAGED',
    ],
    [
      'a fill in the place of a short chunk',
      (fields) => ({
        ...fields,
        disks: fields.disks.map((disk) => ({ ...disk, root: { entry: fill(1), height: 0 } })),
      }),
      'MANIFEST_DAMAGED',
    ],
  ])('of %s are reported, and the others are read', async (_name, change, code) => {
    const writer = await newWriter();
    const disk = oneChunk(noise(2, 700));
    const bad = await writer.point([disk], change);
    const good = await writer.point([disk]);
    await writer.finish();
    const store = await opened(writer);
    expect(store.points().map((point) => point.id)).toEqual([good]);
    expect(store.problems()).toMatchObject([{ code, file: `home/manifests/${bad}.manifest` }]);
    expect(await store.verify()).toMatchObject([{ code }]);
    expect(await codeOf(store.readDisk(bad, 'os', 0, 1))).toBe(code);
    expect(await store.readDisk(good, 'os', 0, 700)).toEqual(noise(2, 700));
  });

  it('under another name are damaged, and strange names are reported', async () => {
    const writer = await newWriter();
    const id = await writer.point([oneChunk(noise(3, 700))]);
    await writer.finish();
    const folder = join(writer.path, 'home', 'manifests');
    await rename(join(folder, `${id}.manifest`), join(folder, `${'0'.repeat(32)}.manifest`));
    await writeFile(join(folder, 'readme'), '');
    await writeFile(join(writer.path, 'home', 'packs', 'readme'), '');
    const store = await opened(writer);
    expect(store.problems().map((problem) => problem.code)).toEqual([
      'MANIFEST_DAMAGED',
      'STORE_DAMAGED',
      'STORE_DAMAGED',
    ]);
  });

  it('that cannot be listed are a problem', async () => {
    const writer = await newWriter();
    await rm(join(writer.path, 'home'), { recursive: true });
    await mkdir(join(writer.path, 'home'));
    const store = await opened(writer);
    expect(store.problems().map((problem) => problem.file)).toEqual(['home/manifests', 'home/packs']);
  });
});

describe('packs', () => {
  async function withPack(
    change: (fields: PackFields) => PackFields,
  ): Promise<{ store: PortableStore; point: string }> {
    const writer = await newWriter();
    const plain = noise(4, 800);
    const point = await writer.point([oneChunk(plain)]);
    const [file = ''] = await writer.finish();
    const id = writer.idOf('chunk', plain);
    const frame: FrameFields = { kind: 'chunk', codec: 0, id, plainBytes: 800, stored: plain };
    const pack: PackFields = {
      kind: 'chunk',
      packId: testId(0x11, 1),
      storeId: writer.storeId,
      chunkBytes,
      frames: [frame],
    };
    await writeFile(join(writer.path, file), packBytes(change(pack)));
    return { store: await opened(writer), point };
  }

  it('are read when nothing is changed', async () => {
    const { store, point } = await withPack((fields) => fields);
    expect(store.problems()).toEqual([]);
    expect(await store.readDisk(point, 'os', 0, 800)).toEqual(noise(4, 800));
  });

  it.each<[string, (fields: PackFields) => PackFields, string]>([
    ['a newer version', (fields) => ({ ...fields, version: 2 }), 'STORE_NEWER_FORMAT'],
    ['an encryption key', (fields) => ({ ...fields, keyId: 1 }), 'STORE_NEWER_FORMAT'],
    ['another kind than the name', (fields) => ({ ...fields, kind: 'node' }), 'STORE_DAMAGED'],
    ['another store', (fields) => ({ ...fields, storeId: testId(1, 1) }), 'STORE_DAMAGED'],
    ['another id than the name', (fields) => ({ ...fields, packId: testId(1, 1) }), 'STORE_DAMAGED'],
    ['an unknown key domain', (fields) => ({ ...fields, domain: 3 }), 'STORE_DAMAGED'],
    ['another chunk size', (fields) => ({ ...fields, chunkBytes: 65_536 }), 'STORE_DAMAGED'],
  ])('of %s are reported and not read', async (_name, change, code) => {
    const { store, point } = await withPack(change);
    expect(store.problems()).toMatchObject([{ code, offset: null }]);
    expect(await codeOf(store.readDisk(point, 'os', 0, 1))).toBe('CHUNK_MISSING');
    expect((await store.verify()).map((problem) => problem.code)).toEqual([code, 'CHUNK_MISSING']);
  });
});

describe('trailers', () => {
  it.each<[string, number]>([
    ['id', 0],
    ['plain length', 40],
  ])('with another %s than the frame are found out', async (_name, at) => {
    const writer = await newWriter();
    const plain = noise(9, 800);
    writer.addFrame({
      kind: 'chunk',
      codec: 1,
      id: writer.idOf('chunk', plain),
      plainBytes: 800,
      stored: plain.subarray(100),
    });
    const point = await writer.point([{ ...oneChunk(plain), root: { entry: hole, height: 0 } }]);
    const [file = ''] = await writer.finish();
    await changeFile(writer.path, file, (bytes) => {
      const trailerAt = bytes.length - 96;
      const trailer = flipped(bytes.subarray(trailerAt, -48), at);
      const footer = new Fields(48).put(0, bytes.subarray(-48)).u64(32, xxh64(trailer)).seal(40).bytes;
      return Buffer.concat([bytes.subarray(0, trailerAt), trailer, footer]);
    });
    const store = await opened(writer);
    expect(store.problems()).toEqual([]);
    const [problem] = await store.verify();
    expect(problem).toMatchObject({ code: 'CHUNK_DAMAGED', file, offset: 64 });
    expect(problem?.message).toContain('the trailer says');
    expect(await store.readDisk(point, 'os', 0, 10)).toEqual(new Uint8Array(10));
  });
});

describe('frames', () => {
  /** A store whose only disk is one chunk, stored in the given frame. */
  async function withFrame(
    plain: Uint8Array,
    frame: Partial<FrameFields>,
  ): Promise<{ store: PortableStore; point: string }> {
    const writer = await newWriter();
    const id = writer.idOf('chunk', plain);
    writer.addFrame({ kind: 'chunk', codec: 0, id, plainBytes: plain.length, stored: plain, ...frame });
    const root = { entry: { tag: 'id', id }, height: 0 } as const;
    const point = await writer.point([{ ...oneChunk(plain), root }]);
    await writer.finish();
    return { store: await opened(writer), point };
  }

  const plain = Buffer.alloc(3000, 'frame');

  it.each<[string, Partial<FrameFields>, string]>([
    ['an LZ4 block that is none', { codec: 2, stored: Buffer.alloc(100, 'lz4') }, 'CHUNK_DAMAGED'],
    ['an LZ4 block of another length', { codec: 2, stored: lz4Block(Buffer.alloc(3001, 'frame')) }, 'CHUNK_DAMAGED'],
    ['an LZ4 block of other bytes', { codec: 2, stored: lz4Block(Buffer.alloc(3000, 'other')) }, 'CHUNK_DAMAGED'],
    [
      'something after the LZ4 block',
      { codec: 2, stored: Buffer.concat([lz4Block(plain), Buffer.from([0])]) },
      'CHUNK_DAMAGED',
    ],
    ['other plain bytes than its id', { stored: Buffer.alloc(3000, 'other') }, 'CHUNK_DAMAGED'],
    ['a zstd frame that is none', { codec: 1, stored: Buffer.alloc(100, 'zstd') }, 'CHUNK_DAMAGED'],
    ['a zstd frame of another length', { codec: 1, stored: zstdFrame(Buffer.alloc(3001, 'frame')) }, 'CHUNK_DAMAGED'],
    [
      'a second zstd frame',
      { codec: 1, stored: Buffer.concat([zstdFrame(plain.subarray(0, 1000)), zstdFrame(plain.subarray(1000))]) },
      'CHUNK_DAMAGED',
    ],
    [
      'something after the zstd frame',
      { codec: 1, stored: Buffer.concat([zstdFrame(plain), Buffer.from([0])]) },
      'CHUNK_DAMAGED',
    ],
    ['a base that is in no pack', { codec: 3, stored: zstdFrame(plain), base: testId(1, 1) }, 'CHUNK_MISSING'],
    ['another key domain than the pack', { domain: 4 }, 'CHUNK_DAMAGED'],
    ['a key id', { keyId: 4 }, 'CHUNK_DAMAGED'],
  ])('with %s are refused', async (_name, frame, code) => {
    const base = frame.base === undefined ? {} : { base: Buffer.concat([frame.base, frame.base]) };
    const { store, point } = await withFrame(plain, { ...frame, ...base });
    expect(await codeOf(store.readDisk(point, 'os', 0, plain.length))).toBe(code);
    const problems = await store.verify();
    expect(problems).toMatchObject([{ code, offset: 64, hits: [{ ranges: [{ offset: 0, length: 3000 }] }] }]);
  });

  it.each([0, 1, 2])('of codec %i are read, also as the base of a delta', async (codec) => {
    const stored = [plain, zstdFrame(plain), lz4Block(plain)][codec] ?? plain;
    const { store, point } = await withFrame(plain, { codec, stored });
    expect(Buffer.compare(await store.readDisk(point, 'os', 0, plain.length), plain)).toBe(0);
    expect(await store.verify()).toEqual([]);

    const writer = await newWriter();
    const baseId = writer.idOf('chunk', plain);
    writer.addFrame({ kind: 'chunk', codec, id: baseId, plainBytes: plain.length, stored });
    const changed = Buffer.from(plain);
    changed.write('changed', 1000);
    const id = writer.idOf('chunk', changed);
    const delta = deltaFrame(changed, plain);
    writer.addFrame({ kind: 'chunk', codec: 3, id, plainBytes: changed.length, stored: delta, base: baseId });
    const root = { entry: { tag: 'id', id }, height: 0 } as const;
    const above = await writer.point([{ ...oneChunk(changed), root }]);
    await writer.finish();
    const read = await (await opened(writer)).readDisk(above, 'os', 0, changed.length);
    expect(Buffer.compare(read, changed)).toBe(0);
  });

  it('that are deltas on deltas are refused', async () => {
    const writer = await newWriter();
    const base = noise(5, 3000);
    const middle = base.slice();
    middle.set([1, 2, 3], 100);
    const baseId = writer.delta(middle, base);
    const top = middle.slice();
    top.set([4, 5, 6], 200);
    const id = writer.idOf('chunk', top);
    const stored = zstdFrame(Buffer.alloc(3000));
    writer.addFrame({ kind: 'chunk', codec: 3, id, plainBytes: 3000, stored, base: baseId });
    const root = { entry: { tag: 'id', id }, height: 0 } as const;
    const point = await writer.point([{ ...oneChunk(top), root }]);
    await writer.finish();
    const store = await opened(writer);
    expect(await codeOf(store.readDisk(point, 'os', 0, 1))).toBe('CHUNK_MISSING');
  });

  it('longer than their place at the end of a disk are refused', async () => {
    const writer = await newWriter();
    const long = noise(6, 3000);
    const root = { entry: { tag: 'id', id: writer.chunk(long) }, height: 0 } as const;
    const point = await writer.point([{ role: 'os', sizeBytes: 2999, places: new Map(), root }]);
    await writer.finish();
    const store = await opened(writer);
    expect(await codeOf(store.readDisk(point, 'os', 0, 1))).toBe('CHUNK_DAMAGED');
    expect(await store.verify()).toMatchObject([{ code: 'CHUNK_DAMAGED', hits: [{}] }]);
  });
});

describe('nodes', () => {
  const data = noise(7, 500);

  /** A store whose only disk of `chunkCount` chunks has this node as root. */
  async function withRoot(
    bytesOf: (id: Uint8Array) => Uint8Array,
    chunkCount: number,
  ): Promise<{ store: PortableStore; point: string }> {
    const writer = await newWriter();
    const id = writer.node(bytesOf(writer.chunk(data)));
    const height = chunkCount > 64 ? 2 : 1;
    const root = { entry: { tag: 'id', id }, height } as const;
    const point = await writer.point([{ role: 'os', sizeBytes: chunkCount * chunkBytes, places: new Map(), root }]);
    await writer.finish();
    return { store: await opened(writer), point };
  }

  const chunkEntry = (id: Uint8Array): Entry => ({ tag: 'id', id });

  it('are read when they are canonical', async () => {
    const { store, point } = await withRoot((id) => nodeBytes(1, [hole, fill(1), chunkEntry(id)]), 4);
    expect(await store.readDisk(point, 'os', 2 * chunkBytes, 500)).toEqual(data);
    expect(await store.verify()).toEqual([]);
  });

  it.each<[string, (id: Uint8Array) => Uint8Array, number]>([
    ['a trailing hole', (id) => nodeBytes(1, [chunkEntry(id), hole]), 4],
    ['nothing but holes', () => nodeBytes(1, [hole, hole]), 4],
    [
      '64 fills of one value',
      () =>
        nodeBytes(
          1,
          Array.from({ length: 64 }, () => fill(3)),
        ),
      64,
    ],
    ['another level than its place', (id) => nodeBytes(2, [chunkEntry(id)]), 4],
    ['a level that does not exist', (id) => nodeBytes(7, [chunkEntry(id)]), 4],
    ['level 0', (id) => nodeBytes(0, [chunkEntry(id)]), 4],
    ['no entries', () => Buffer.from([0x4e, 1, 0, 0, 0, 0, 0, 0]), 4],
    ['65 entries', (id) => nodeBytes(1, [...Array.from({ length: 64 }, () => hole), chunkEntry(id)]), 64],
    ['a tag that does not exist', () => Buffer.from([0x4e, 1, 2, 1, 0, 0, 0, 0, 3, 1, 7]), 4],
    ['a wrong count of fills', (id) => flipped(nodeBytes(1, [fill(1), chunkEntry(id)]), 3), 4],
    ['a wrong count of ids', (id) => flipped(nodeBytes(1, [fill(1), chunkEntry(id)]), 4), 4],
    ['bytes behind its ids', (id) => Buffer.concat([nodeBytes(1, [chunkEntry(id)]), Buffer.alloc(1)]), 4],
    ['an id that is cut off', (id) => nodeBytes(1, [chunkEntry(id)]).subarray(0, 40), 4],
    ['another magic', (id) => flipped(nodeBytes(1, [chunkEntry(id)]), 0), 4],
    ['a byte that must be zero', (id) => flipped(nodeBytes(1, [chunkEntry(id)]), 6), 4],
    ['a chunk past the end of the disk', (id) => nodeBytes(1, [hole, hole, chunkEntry(id)]), 2],
    ['a fill past the end of the disk', (id) => nodeBytes(1, [chunkEntry(id), hole, fill(0)]), 2],
    ['a fill that reaches past the end', () => nodeBytes(2, [hole, fill(0)]), 100],
  ])('with %s are refused', async (_name, bytesOf, chunkCount) => {
    const { store, point } = await withRoot(bytesOf, chunkCount);
    expect(await codeOf(store.readDisk(point, 'os', 0, 1))).toBe('NODE_DAMAGED');
    const problems = await store.verify();
    const ranges = [{ offset: 0, length: chunkCount * chunkBytes }];
    expect(problems).toMatchObject([{ code: 'NODE_DAMAGED', hits: [{ pointId: point, ranges }] }]);
  });

  it('that are missing are reported with all that lies below them', async () => {
    const writer = await newWriter();
    const root = { entry: chunkEntry(noise(8, 32)), height: 2 };
    const point = await writer.point([{ role: 'os', sizeBytes: 100 * chunkBytes, places: new Map(), root }]);
    await writer.finish();
    const store = await opened(writer);
    expect(await codeOf(store.readDisk(point, 'os', 0, 1))).toBe('NODE_MISSING');
    const ranges = [{ offset: 0, length: 100 * chunkBytes }];
    const file = `home/manifests/${point}.manifest`;
    expect(await store.verify()).toMatchObject([{ code: 'NODE_MISSING', file, offset: null, hits: [{ ranges }] }]);
  });
});
