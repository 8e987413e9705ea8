/** Arbitrary disks for property tests, and small tools that the tests share. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import * as fc from 'fast-check';

import { PortableError, type PortableErrorCode } from '../../src/portable/index.js';
import { noise } from './fixtures/content.mjs';
import type { ChunkPlace, DiskModel } from './store-writer.js';

/** Content of a chunk from a small seed: a few seeds, so that chunks repeat within and between disks. */
export function chunkContent(seed: number, length: number): Uint8Array {
  const bytes = noise(seed + 1, length);
  // Half of them compress.
  if (seed % 2 === 0) bytes.fill(seed & 0xff, 100);
  return bytes;
}

function place(seed: number, kind: number, length: number): ChunkPlace {
  const plain = chunkContent(seed, length);
  if (kind === 0) return { kind: 'data', plain, codec: 0 };
  if (kind === 3) return { kind: 'data', plain, codec: 2 };
  if (kind === 1) return { kind: 'data', plain, codec: 1 };
  const changed = plain.slice();
  changed.set(noise(seed + 500, Math.min(10, length)), 0);
  return { kind: 'delta', plain: changed, base: plain };
}

/** A disk of up to `chunksMax` chunks whose size need not be a multiple of the chunk size. */
export function diskArbitrary(role: string, chunkBytes: number, chunksMax: number): fc.Arbitrary<DiskModel> {
  const entry = fc.record({
    at: fc.nat(chunksMax - 1),
    run: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.integer({ min: 2, max: 130 }) }),
    kind: fc.integer({ min: -2, max: 3 }),
    seed: fc.nat(12),
    short: fc.boolean(),
  });
  return fc
    .record({ sizeBytes: fc.nat(chunksMax * chunkBytes), entries: fc.array(entry, { maxLength: 14 }) })
    .map(({ sizeBytes, entries }) => {
      const places = new Map<number, ChunkPlace>();
      for (const { at, run, kind, seed, short } of entries) {
        for (let chunk = at; chunk < at + (kind < 0 ? run : 1) && chunk * chunkBytes < sizeBytes; chunk += 1) {
          const length = Math.min(chunkBytes, sizeBytes - chunk * chunkBytes);
          if (kind >= 0) places.set(chunk, place(seed, kind, short ? Math.ceil(length / 3) : length));
          else places.set(chunk, { kind: 'fill', value: kind === -1 || length < chunkBytes ? 0 : seed });
        }
      }
      return { role, sizeBytes, places };
    });
}

/** The code of the error that a call rejects with; fails the test when it resolves or rejects with anything else. */
export async function codeOf(call: Promise<unknown>): Promise<PortableErrorCode> {
  try {
    await call;
  } catch (error) {
    if (error instanceof PortableError) return error.code;
    throw error;
  }
  throw new Error('it resolved');
}

/** Changes a file of a store in place. */
export async function changeFile(
  storePath: string,
  file: string,
  change: (bytes: Buffer) => Uint8Array,
): Promise<void> {
  const path = join(storePath, file);
  await writeFile(path, change(await readFile(path)));
}

/** Flips bits of one byte. */
export function flipped(bytes: Buffer, at: number, mask = 0x01): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ mask;
  return copy;
}
