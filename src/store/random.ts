/** Where the library gets chance from: it draws ids, and nothing else. */

import { randomBytes } from 'node:crypto';

import { idBytes } from './units.js';

/** A source of random bytes. */
export interface Random {
  /** That many bytes, new ones with each call. */
  bytes(count: number): Uint8Array;
}

/** The operating system's cryptographic source. */
export const systemRandom: Random = { bytes: (count) => randomBytes(count) };

/** A new id as text; the functions of `units.ts` give it its kind. */
export function newId(random: Random): string {
  return Buffer.from(random.bytes(idBytes)).toString('hex');
}
