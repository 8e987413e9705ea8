/** Where the library gets chance from: it draws ids, and nothing else. */

import { idBytes } from './units.js';

/** A source of random bytes. */
export interface Random {
  /** That many bytes, new ones with each call. */
  bytes(count: number): Uint8Array;
}

/** The operating system's cryptographic source. Loaded with the first id: most commands draw none, and it takes 3 ms. */
export const systemRandom: Random = {
  bytes: (count) => process.getBuiltinModule('node:crypto').randomBytes(count),
};

/** A new id as text; the functions of `units.ts` give it its kind. */
export function newId(random: Random): string {
  return Buffer.from(random.bytes(idBytes)).toString('hex');
}
