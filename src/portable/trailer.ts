/**
 * Trailer and footer of a pack (format.md section 4.4): where its frames stand, without reading them.
 *
 * A trailer counts only as a whole: both checksums hold, and its entries cover the pack from the header to the trailer
 * without a gap. Otherwise `salvage.ts` looks for the frames.
 */

import { contentIdAt, type ContentId } from './brands.js';
import { hasText, isZero, safeU64, u32, u64, u8 } from './bytes.js';
import { codecDelta } from './codec.js';
import { frameLengthDefect, headerBytesOf, type FrameSetting } from './frame.js';
import type { Checksum } from './hashes.js';
import { packHeaderBytes } from './pack-header.js';

/** Length of the footer. */
export const footerBytes = 48;

const entryBytes = 48;
const baseIdBytes = 32;

/** A frame as a trailer or a frame header announces it. */
export interface PackFrame {
  readonly id: ContentId;
  /** Where the frame begins in its pack. */
  readonly offset: number;
  /** Header and stored bytes together. */
  readonly frameBytes: number;
  readonly storedBytes: number;
  readonly plainBytes: number;
  readonly codec: number;
  readonly baseId: ContentId | null;
}

/** Where the trailer stands, as the footer says it. */
export interface Footer {
  readonly entryCount: number;
  readonly baseCount: number;
  readonly trailerAt: number;
  readonly trailerChecksum: bigint;
}

/** Reads the last bytes of a pack. Throws an `Error` that says why when they are no footer of this file. */
export function parseFooter(bytes: Uint8Array, fileBytes: number, checksum: Checksum): Footer {
  if (bytes.length !== footerBytes || !hasText(bytes, 0, 'STILLEND')) throw new Error('the footer is not there');
  if (checksum(bytes.subarray(0, 40)) !== u64(bytes, 40)) throw new Error('the checksum of the footer does not hold');
  const entryCount = u32(bytes, 8);
  const baseCount = u32(bytes, 12);
  const trailerAt = safeU64(bytes, 16);
  if (safeU64(bytes, 24) !== fileBytes) throw new Error(`the footer is that of a file of ${u64(bytes, 24)} bytes`);
  const trailerBytes = entryCount * entryBytes + baseCount * baseIdBytes;
  if (trailerAt === null || trailerAt < packHeaderBytes || trailerAt + trailerBytes + footerBytes !== fileBytes) {
    throw new Error(`a trailer of ${trailerBytes} bytes at ${u64(bytes, 16)} does not fit the file`);
  }
  return { entryCount, baseCount, trailerAt, trailerChecksum: u64(bytes, 32) };
}

/** Reads the trailer. Throws an `Error` that says why when it cannot be trusted as a whole. */
export function parseTrailer(
  bytes: Uint8Array,
  footer: Footer,
  setting: FrameSetting,
  checksum: Checksum,
): readonly PackFrame[] {
  const basesAt = footer.entryCount * entryBytes;
  if (bytes.length !== basesAt + footer.baseCount * baseIdBytes) throw new Error('the trailer is cut off');
  if (checksum(bytes) !== footer.trailerChecksum) throw new Error('the checksum of the trailer does not hold');
  const frames: PackFrame[] = [];
  let frameAt = packHeaderBytes;
  let baseAt = basesAt;
  for (let at = 0; at < basesAt; at += entryBytes) {
    const codec = u8(bytes, at + 44);
    const storedBytes = u32(bytes, at + 36);
    const plainBytes = u32(bytes, at + 40);
    const defect = frameLengthDefect(setting, codec, plainBytes, storedBytes);
    if (defect !== null) throw new Error(`the trailer lists a frame with ${defect}`);
    if (!isZero(bytes, at + 45, at + 48)) throw new Error('the trailer has bytes that must be zero');
    if (u32(bytes, at + 32) !== frameAt) throw new Error(`the trailer leaves a gap at ${frameAt}`);
    const hasBase = codec === codecDelta;
    if (hasBase && baseAt >= bytes.length) throw new Error('the trailer has fewer base ids than deltas');
    const frameBytes = headerBytesOf(codec) + storedBytes;
    frames.push({
      id: contentIdAt(bytes, at),
      offset: frameAt,
      frameBytes,
      storedBytes,
      plainBytes,
      codec,
      baseId: hasBase ? contentIdAt(bytes, baseAt) : null,
    });
    if (hasBase) baseAt += baseIdBytes;
    frameAt += frameBytes;
  }
  if (baseAt !== bytes.length) throw new Error('the trailer has more base ids than deltas');
  if (frameAt !== footer.trailerAt) throw new Error(`the trailer leaves a gap at ${frameAt}`);
  return frames;
}
