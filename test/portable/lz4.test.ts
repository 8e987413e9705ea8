/** Laws of LZ4 blocks: what was encoded comes back; anything else is decoded as the format says, or refused. */

import { readFileSync } from 'node:fs';

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { decodeLz4Block } from '../../src/portable/lz4.js';
import { contentBytes } from '../../src/testing/index.js';
import { runs } from '../house/size.js';
import { noise } from './fixtures/content.mjs';
import { lz4Block } from './lz4-block.js';

const list = readFileSync(new URL('fixtures/lz4-blocks.txt', import.meta.url), 'utf8');
const cases = list
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => {
    const [name = '', plainBytes = '', stored = '', plain = ''] = line.split('|').map((part) => part.trim());
    return { name, plainBytes: Number(plainBytes), stored: Buffer.from(stored, 'hex'), plain };
  });

/** Bytes in which much repeats, near and far. */
const repeating = fc
  .array(
    fc.record({
      piece: fc.uint8Array({ minLength: 1, maxLength: 20 }),
      times: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 400 })),
    }),
    { maxLength: 8 },
  )
  .map((pieces) => Buffer.concat(pieces.flatMap(({ piece, times }) => Array.from({ length: times }, () => piece))));

describe('the decoder of LZ4 blocks', () => {
  it.each(cases)('gives what the list says: $name', ({ plainBytes, stored, plain }) => {
    const decode = (): string => Buffer.from(decodeLz4Block(stored, plainBytes)).toString('hex');
    if (plain === 'refused') expect(decode).toThrow(/LZ4 block|decoded to/);
    else expect(decode()).toBe(plain);
  });

  it('gives back what was encoded', () => {
    fc.assert(
      fc.property(repeating, (plain) => {
        expect(Buffer.compare(decodeLz4Block(lz4Block(plain), plain.length), plain)).toBe(0);
      }),
      { numRuns: runs(100, 5000) },
    );
    for (const plain of [noise(1, 70_000), contentBytes({ kind: 'text', seed: 1 }, 1 << 20), new Uint8Array(1 << 20)]) {
      expect(Buffer.compare(decodeLz4Block(lz4Block(plain), plain.length), plain)).toBe(0);
    }
  });

  it('gives as many bytes as were asked for, or an error, for any changed block', () => {
    const change = fc.record({
      plain: repeating.filter(({ length }) => length > 0),
      at: fc.nat(),
      byte: fc.constantFrom(0, 1, 0x0f, 0xf0, 0xff, 0x55),
      keep: fc.boolean(),
      more: fc.integer({ min: -2, max: 2 }),
    });
    let decoded = 0;
    fc.assert(
      fc.property(change, ({ plain, at, byte, keep, more }) => {
        const stored = Buffer.from(lz4Block(plain));
        stored[at % stored.length] = byte;
        const plainBytes = Math.max(plain.length + more, 0);
        try {
          expect(decodeLz4Block(keep ? stored : stored.subarray(0, at % stored.length), plainBytes)).toHaveLength(
            plainBytes,
          );
          decoded += 1;
        } catch (error) {
          expect(String(error)).toMatch(/^Error: .*(LZ4 block|decoded to)/);
        }
      }),
      { numRuns: runs(500, 50_000) },
    );
    expect(decoded).toBeGreaterThan(0);
  });

  it('takes no more memory than the plain length, whatever lengths a block claims', () => {
    const claims = Buffer.concat([Buffer.from([0xff]), Buffer.alloc(65_000, 0xff), Buffer.from([0])]);
    expect(() => decodeLz4Block(claims, 65_536)).toThrow('literals go past the end of the LZ4 block');
    const runsAway = Buffer.concat([Buffer.from([0x1f, 7, 1, 0]), Buffer.alloc(65_000, 0xff), Buffer.from([0, 0])]);
    expect(() => decodeLz4Block(runsAway, 65_536)).toThrow('decodes to more than 65536 bytes');
  });
});
