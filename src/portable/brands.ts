/**
 * The branded types of the portable reader, and the only casts that make them.
 *
 * - `ObjectId`: id of a store, machine, disk, point or pack, 32 lower-case hexadecimal digits.
 * - `ContentId`: id of a chunk or node, 32 bytes.
 * - `ProvenBytes`: plain bytes whose id was recomputed and is the one asked for. Only these leave the reader
 *   (format.md section 11); `content.ts` is the one place that makes them.
 */

import { hex } from './bytes.js';

declare const objectIdBrand: unique symbol;
declare const contentIdBrand: unique symbol;
declare const provenBrand: unique symbol;

/** Id of a store, machine, disk, point or pack: 32 lower-case hexadecimal digits. */
export type ObjectId = string & { readonly [objectIdBrand]: true };

/** Id of a chunk or node: 32 bytes. */
export type ContentId = Uint8Array & { readonly [contentIdBrand]: true };

/** Plain bytes of a chunk or node whose id was recomputed. */
export type ProvenBytes = Uint8Array & { readonly [provenBrand]: true };

/** The 16 bytes at `at` as an object id. */
export function objectIdAt(bytes: Uint8Array, at: number): ObjectId {
  if (at + 16 > bytes.length) throw new RangeError(`an id of 16 bytes at ${at} of ${bytes.length}`);
  // A cast: the brand has no value at run time; 16 bytes make 32 digits.
  return hex(bytes.subarray(at, at + 16)) as ObjectId;
}

/** A text as an object id, or null when it is none. */
export function objectIdFrom(text: string): ObjectId | null {
  // A cast: the pattern is the definition of the brand.
  return /^[0-9a-f]{32}$/.test(text) ? (text as ObjectId) : null;
}

/** The 32 bytes at `at` as a content id: a copy, so that it does not keep a larger buffer alive. */
export function contentIdAt(bytes: Uint8Array, at: number): ContentId {
  if (at + 32 > bytes.length) throw new RangeError(`an id of 32 bytes at ${at} of ${bytes.length}`);
  // A cast: the brand has no value at run time; the length was checked.
  return bytes.slice(at, at + 32) as ContentId;
}

/** Marks plain bytes as proven. Call it only where the id was recomputed over exactly these bytes. */
export function asProven(bytes: Uint8Array): ProvenBytes {
  // A cast: the proof is the caller's, see above.
  return bytes as ProvenBytes;
}
