import { truncate } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { noise } from './fixtures/content.mjs';
import { frameBytes, zstdFrame } from './format-writer.js';
import { data, newWriter, opened } from './harness.js';
import { changeFile, chunkContent, flipped } from './model.js';
import { expectedBytes, type DiskModel, type StoreWriter } from './store-writer.js';

describe('packs without a trailer', () => {
  const sizeBytes = 5 * 16_384;

  /** A disk of five chunks in one pack; returns the offsets of their frames in the pack. */
  async function fiveChunks(plains: readonly Uint8Array[]): Promise<{
    readonly writer: StoreWriter;
    readonly point: string;
    readonly disk: DiskModel;
    readonly pack: string;
    readonly offsets: readonly number[];
  }> {
    const writer = await newWriter();
    const places = new Map(plains.map((plain, index) => [index, data(plain)] as const));
    const disk = { role: 'os', sizeBytes, places };
    const point = await writer.point([disk]);
    const [pack = ''] = await writer.finish();
    let at = 64;
    const offsets = plains.map((plain) => {
      at += 72 + plain.length;
      return at - 72 - plain.length;
    });
    return { writer, point, disk, pack, offsets };
  }

  /** Which of the five chunks cannot be read; the others must read as the model says. */
  async function unreadable(writer: StoreWriter, point: string, disk: DiskModel): Promise<readonly number[]> {
    const store = await opened(writer);
    const unread: number[] = [];
    for (let chunk = 0; chunk < 5; chunk += 1) {
      try {
        const bytes = await store.readDisk(point, 'os', chunk * 16_384, 16_384);
        expect(Buffer.compare(bytes, expectedBytes(disk, 16_384, chunk * 16_384, 16_384))).toBe(0);
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^CHUNK_/) });
        unread.push(chunk);
      }
    }
    return unread;
  }

  const five = [1, 3, 5, 7, 9].map((seed) => chunkContent(seed, 16_384));

  it('lose one chunk when one frame header is damaged too', async () => {
    const { writer, point, disk, pack, offsets } = await fiveChunks(five);
    await changeFile(writer.path, pack, (bytes) => flipped(flipped(bytes, bytes.length - 1), (offsets[1] ?? 0) + 20));
    expect(await unreadable(writer, point, disk)).toEqual([1]);
    const store = await opened(writer);
    const problems = await store.verify();
    expect(problems.map(({ code, offset }) => ({ code, offset }))).toEqual([
      { code: 'STORE_DAMAGED', offset: (offsets[4] ?? 0) + 72 + 16_384 },
      { code: 'CHUNK_DAMAGED', offset: offsets[1] },
      { code: 'CHUNK_MISSING', offset: null },
    ]);
  });

  it('lose what was cut off', async () => {
    const { writer, point, disk, pack, offsets } = await fiveChunks(five);
    await truncate(join(writer.path, pack), (offsets[3] ?? 0) + 5000);
    expect(await unreadable(writer, point, disk)).toEqual([3, 4]);
  });

  it('do not take a frame that a guest forged inside a chunk for the real one', async () => {
    const writerOfIds = await newWriter();
    const victim = five[4] ?? new Uint8Array();
    const forged = frameBytes({
      kind: 'chunk',
      codec: 0,
      id: writerOfIds.idOf('chunk', victim),
      plainBytes: 4000,
      stored: noise(77, 4000),
    });
    // Also one that claims to reach far beyond its chunk: what it covers must be searched all the same.
    const reaching = frameBytes({
      kind: 'chunk',
      codec: 0,
      id: writerOfIds.idOf('chunk', victim),
      plainBytes: 16_384,
      stored: noise(78, 16_384),
    }).subarray(0, 72);
    const carrier = noise(79, 16_384);
    carrier.set(forged, 1000);
    carrier.set(reaching, 9000);
    const plains = [five[0], carrier, five[2], five[3], victim].map((plain) => plain ?? new Uint8Array());
    const { writer, point, disk, pack, offsets } = await fiveChunks(plains);
    await changeFile(writer.path, pack, (bytes) => flipped(flipped(bytes, bytes.length - 1), (offsets[1] ?? 0) + 20));
    expect(await unreadable(writer, point, disk)).toEqual([1]);
  });

  it('take a true copy of a frame inside a chunk for what it is', async () => {
    const writerOfIds = await newWriter();
    const victim = five[4]?.subarray(0, 8000) ?? new Uint8Array();
    const copy = frameBytes({
      kind: 'chunk',
      codec: 1,
      id: writerOfIds.idOf('chunk', Buffer.alloc(9000, 'copy')),
      plainBytes: 9000,
      stored: zstdFrame(Buffer.alloc(9000, 'copy')),
    });
    const carrier = noise(80, 16_384);
    carrier.set(copy, 1000);
    const plains = [carrier, Buffer.alloc(9000, 'copy'), five[2], five[3], victim].map(
      (plain) => plain ?? new Uint8Array(),
    );
    const { writer, point, disk, pack, offsets } = await fiveChunks(plains);
    await changeFile(writer.path, pack, (bytes) =>
      flipped(flipped(flipped(bytes, bytes.length - 1), (offsets[0] ?? 0) + 20), (offsets[1] ?? 0) + 500),
    );
    // The frame of chunk 1 is damaged; its copy inside the lost chunk 0 gives the same bytes.
    expect(await unreadable(writer, point, disk)).toEqual([0]);
  });

  it('give deltas whose bases stand in another pack without a trailer', async () => {
    const writer = await newWriter({ packFrames: 1 });
    const base = noise(1, 16_384);
    const changed = base.slice();
    changed.set([9, 9, 9], 777);
    // The delta comes first, so that its pack is looked at before that of its base.
    const other = noise(2, 16_384);
    writer.chunk(other);
    const id = writer.delta(changed, other);
    const root = { entry: { tag: 'id', id }, height: 0 } as const;
    const disk = { role: 'os', sizeBytes: 16_384, places: new Map([[0, data(changed)]]), root };
    const point = await writer.point([disk]);
    const packs = await writer.finish();
    expect(packs.length).toBeGreaterThan(0);
    for (const pack of packs) {
      // The first header is damaged as well, so every frame has to be searched for and proven.
      await changeFile(writer.path, pack, (bytes) =>
        Buffer.concat([bytes.subarray(0, 64), noise(5, 100), bytes.subarray(64, -1)]),
      );
    }
    const store = await opened(writer);
    expect(Buffer.compare(await store.readDisk(point, 'os', 0, 16_384), changed)).toBe(0);
  });
});
