/** Chance that repeats: the same seed gives the same bytes. */

import type { Random } from '../store/random.js';

/**
 * Random bytes from a seed, by SplitMix32: small, well spread, and of no cryptographic worth.
 *
 * Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014, with the 32-bit finalizer of
 * MurmurHash3.
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  return {
    bytes: (count) => {
      const bytes = new Uint8Array(count);
      for (let at = 0; at < count; at += 1) bytes[at] = next() & 0xff;
      return bytes;
    },
  };
}
