/** Bytes to measure on: the same in every run, of three kinds that the engine treats differently. */

import { chunkBytes } from './suite.js';

export type SampleKind = 'text' | 'random' | 'zero';

/** Whole chunks of one kind, all different except `zero`. */
export function sampleOf(kind: SampleKind, chunkCount: number): Uint8Array {
  const bytes = new Uint8Array(chunkCount * chunkBytes);
  if (kind === 'random') fillRandom(bytes);
  if (kind === 'text') fillText(bytes);
  return bytes;
}

/** A 32-bit generator (xorshift, Marsaglia 2003): good enough to be incompressible. */
function generator(): () => number {
  let state = 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

function fillRandom(bytes: Uint8Array): void {
  const next = generator();
  const words = new Uint32Array(bytes.buffer);
  for (let index = 0; index < words.length; index += 1) words[index] = next();
}

/**
 * Lines of words and numbers. Low words are frequent, as in any language; zstd at level 2 makes about a third of it,
 * which is what it makes of a system disk's files.
 */
function fillText(bytes: Uint8Array): void {
  const next = generator();
  const letters = 'etaoinshrdlucmfwypvbgk';
  const letter = (): string => letters[Math.floor((next() / 2 ** 32) ** 1.5 * letters.length)] ?? 'e';
  const word = (): string => Array.from({ length: 2 + (next() % 9) }, letter).join('');
  const vocabulary = Array.from({ length: 8_000 }, word);
  const encoder = new TextEncoder();
  let at = 0;
  while (at < bytes.length) {
    const pick = Math.floor((next() / 2 ** 32) ** 3 * vocabulary.length);
    const end = next() % 12 === 0 ? ` ${next() % 100_000}\n` : ' ';
    at += encoder.encodeInto((vocabulary[pick] ?? '') + end, bytes.subarray(at)).written || bytes.length;
  }
}
