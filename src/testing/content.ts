/** Bytes for disks: the kinds of content that stores get wrong. */

import { seededRandom } from './random.js';

/** What is written. The same value gives the same bytes. */
export type Content =
  /** Bytes that nothing compresses. */
  | { readonly kind: 'random'; readonly seed: number }
  /** Text-like bytes that compress well. */
  | { readonly kind: 'text'; readonly seed: number }
  /** One byte value throughout. */
  | { readonly kind: 'fill'; readonly value: number }
  /** What looks like a frame of a pack (docs/format.md 4.2). */
  | { readonly kind: 'frame'; readonly seed: number }
  /** What looks like a trained zstd dictionary: it begins with 37 A4 30 EC. */
  | { readonly kind: 'dictionary'; readonly seed: number };

/** The bytes of a content. */
export function contentBytes(content: Content, length: number): Uint8Array {
  switch (content.kind) {
    case 'random':
      return seededRandom(content.seed).bytes(length);
    case 'text':
      return beginning(length, text(content.seed, length));
    case 'fill':
      return new Uint8Array(length).fill(content.value);
    case 'frame': {
      const frame = seededRandom(content.seed).bytes(length);
      // Magic, codec 0, kind chunk; then an id and lengths that lead somewhere.
      for (let at = 0; at + 72 <= length; at += 4096) frame.set([0x53, 0x50, 0x46, 0x52, 0, 1, 0, 0], at);
      return frame;
    }
    case 'dictionary':
      return beginning(length, Uint8Array.of(0x37, 0xa4, 0x30, 0xec), seededRandom(content.seed).bytes(length));
  }
}

function beginning(length: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    const fitting = part.subarray(0, length - at);
    bytes.set(fitting, at);
    at += fitting.length;
  }
  return bytes;
}

function text(seed: number, length: number): Uint8Array {
  const words = ['disk', 'chunk', 'point', 'layer', 'of', 'the', 'machine', String(seed)];
  const choices = seededRandom(seed).bytes(Math.ceil(length / 3));
  const said: string[] = [];
  let size = 0;
  for (const choice of choices) {
    if (size >= length) break;
    const word = words[choice % words.length] ?? '';
    said.push(word);
    size += word.length + 1;
  }
  return new TextEncoder().encode(`${said.join(' ')} `);
}
