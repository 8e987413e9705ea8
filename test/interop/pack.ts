/** The frames of a pack, found through footer and trailer (docs/format.md, sections 4.2 and 4.4). */

import { expect } from 'vitest';

export interface StoredFrame {
  readonly stored: Buffer;
  readonly plainBytes: number;
  readonly codec: number;
}

/** Every frame of a pack without deltas, in its order. */
export function storedFrames(pack: Buffer): StoredFrame[] {
  const footer = pack.subarray(pack.length - 48);
  expect(footer.toString('latin1', 0, 8)).toBe('STILLEND');
  const trailer = Number(footer.readBigUInt64LE(16));
  return Array.from({ length: footer.readUInt32LE(8) }, (_, index) => {
    const entry = pack.subarray(trailer + index * 48);
    const at = entry.readUInt32LE(32);
    const stored = pack.subarray(at + 72, at + 72 + entry.readUInt32LE(36));
    return { stored, plainBytes: entry.readUInt32LE(40), codec: entry.readUInt8(44) };
  });
}
