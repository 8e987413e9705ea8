import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { contentIdAt } from '../../src/portable/brands.js';
import { loadZstdDecoder } from '../../src/portable/codec.js';
import { FrameTable } from '../../src/portable/frame-table.js';
import { domainHashes, loadChecksum } from '../../src/portable/hashes.js';
import { zstdShapeDefect } from '../../src/portable/zstd-shape.js';
import { runs } from '../house/size.js';
import { deltas, fulls } from './fixtures/content.mjs';
import frames from './fixtures/frames.json' with { type: 'json' };
import { keyedBlake3, xxh64 } from './format-writer.js';

describe('the hashes', () => {
  it('are XXH64 and keyed BLAKE3 as their authors publish them', async () => {
    const checksum = await loadChecksum();
    expect(checksum(new Uint8Array(0))).toBe(0xef46db3751d8e999n);
    expect(checksum(Buffer.from('abc'))).toBe(0x44bc2cf5ad770999n);
    // The key and the first vector of BLAKE3's test_vectors.json.
    const hash = await keyedBlake3(Buffer.from('whats the Elvish word for friend'));
    expect(hash(new Uint8Array(0)).toString('hex')).toBe(
      '92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26',
    );
  });

  it('do not depend on where in a buffer the bytes stand', async () => {
    const checksum = await loadChecksum();
    const { chunk, node } = await domainHashes(new Uint8Array(32).fill(1));
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), fc.nat(20), async (bytes, before) => {
        const moved = Buffer.concat([Buffer.alloc(before, 1), bytes]).subarray(before);
        expect(checksum(moved)).toBe(xxh64(bytes));
        expect(chunk(moved)).toEqual(chunk(bytes));
        expect(node(bytes)).not.toEqual(chunk(bytes));
      }),
    );
  });
});

describe('the zstd decoder', () => {
  const stored = [
    ...deltas.map(({ name, plain, base }) => ({ name, plain, base, set: frames.deltas })),
    ...fulls.map(({ name, plain }) => ({ name, plain, base: null, set: frames.fulls })),
  ];

  it.each(stored)('gives plain bytes or an error for a changed frame: $name', async ({ name, plain, base, set }) => {
    const decoder = await loadZstdDecoder();
    const frame = Buffer.from((set as Readonly<Record<string, string>>)[name] ?? '', 'base64');
    const decode = (bytes: Uint8Array): Uint8Array =>
      base === null ? decoder.full(bytes, plain.length) : decoder.delta(bytes, plain.length, base);
    expect(Buffer.compare(decode(frame), plain)).toBe(0);
    const change = fc.record({
      at: fc.nat(frame.length - 1),
      mask: fc.integer({ min: 1, max: 255 }),
      keep: fc.boolean(),
    });
    fc.assert(
      fc.property(change, ({ at, mask, keep }) => {
        const changed = Buffer.from(frame);
        changed[at] = (changed[at] ?? 0) ^ mask;
        const bytes = keep ? changed : changed.subarray(0, at);
        try {
          expect(decode(bytes)).toHaveLength(plain.length);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
        }
        // Whatever it was given, it still decodes what is sound.
        expect(Buffer.compare(decode(frame), plain)).toBe(0);
      }),
      { numRuns: plain.length > 100_000 ? runs(10, 200) : runs(60, 2000) },
    );
  });

  it('does not believe a frame about its size, and takes one frame only', () => {
    const [full] = fulls;
    const frame = Buffer.from(frames.fulls['content size and checksum'], 'base64');
    const plainBytes = full?.plain.length ?? 0;
    expect(zstdShapeDefect(frame, plainBytes)).toBeNull();
    expect(zstdShapeDefect(frame, plainBytes + 1)).toContain('announces');
    expect(zstdShapeDefect(Buffer.concat([frame, frame]), plainBytes)).toContain('does not end');
    expect(zstdShapeDefect(frame.subarray(0, -1), plainBytes)).toContain('does not end');
    const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    expect(zstdShapeDefect(Buffer.concat([skippable, frame]), plainBytes)).toContain('no zstd frame');
  });
});

describe('the frame table', () => {
  it('finds every place of an id, also of ids that begin alike', () => {
    const id = fc.tuple(fc.nat(3), fc.nat(3), fc.nat(2000));
    fc.assert(
      fc.property(fc.array(fc.tuple(id, fc.nat(9)), { maxLength: 3000 }), (entries) => {
        const table = new FrameTable();
        const model = new Map<string, number>();
        for (const [[low, high, rest], pack] of entries) {
          const bytes = Buffer.alloc(32);
          bytes.writeUInt32LE(low, 0);
          bytes.writeUInt32LE(high + (rest % 7) * 100, 4);
          table.add(contentIdAt(bytes, 0), { pack, offset: rest, frameBytes: rest + 1 });
          const key = bytes.toString('hex');
          model.set(key, (model.get(key) ?? 0) + 1);
        }
        expect(table.count).toBe(entries.length);
        for (const [key, count] of model) {
          const places = table.lookup(contentIdAt(Buffer.from(key, 'hex'), 0));
          expect(places).toHaveLength(count);
          expect(places.every((place) => place.frameBytes === place.offset + 1)).toBe(true);
        }
        expect(table.lookup(contentIdAt(Buffer.alloc(32, 0xee), 0))).toEqual([]);
      }),
      { numRuns: runs(20, 300) },
    );
  });
});
