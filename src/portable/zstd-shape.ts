/**
 * The shape of a zstd frame, looked at before it is given to the decoder (RFC 8878 section 3.1.1).
 *
 * The decoder accepts more than the format does: several frames in a row, skippable frames, dictionary ids. It also
 * reserves as much memory as the frame's header says, before it has read a block. A frame found by searching a damaged
 * pack may have been made by a guest, so the header is not believed: exactly one frame, no dictionary, and the content
 * size, where present, is the plain length of the frame header around it.
 */

import { u16, u32, u64, u8 } from './bytes.js';

const frameMagic = 0xfd2fb528;
const contentSizeBytes = [0, 2, 4, 8] as const;

const blockRle = 1;
const blockReserved = 3;

/** Says why stored bytes are not one zstd frame of `plainBytes` bytes; null when they look like one. */
export function zstdShapeDefect(stored: Uint8Array, plainBytes: number): string | null {
  if (stored.length < 5 || u32(stored, 0) !== frameMagic) return 'no zstd frame begins there';
  const descriptor = u8(stored, 4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const checksumBytes = (descriptor & 0x04) !== 0 ? 4 : 0;
  if ((descriptor & 0x08) !== 0) return 'a reserved bit of the zstd frame is set';
  if ((descriptor & 0x03) !== 0) return 'the zstd frame names a dictionary';
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 && singleSegment ? 1 : (contentSizeBytes[sizeFlag] ?? 0);
  const sizeAt = singleSegment ? 5 : 6;
  let at = sizeAt + sizeBytes;
  if (at > stored.length) return 'the zstd frame ends in its header';
  const contentBytes = contentSizeAt(stored, sizeAt, sizeBytes);
  if (contentBytes !== null && contentBytes !== BigInt(plainBytes)) {
    return `the zstd frame announces ${contentBytes} bytes, its frame header ${plainBytes}`;
  }
  for (let last = false; !last;) {
    if (at + 3 > stored.length) return 'the zstd frame ends before its last block';
    const block = u16(stored, at) | (u8(stored, at + 2) << 16);
    const type = (block >> 1) & 0x03;
    if (type === blockReserved) return 'the zstd frame has a block of a reserved type';
    last = (block & 1) === 1;
    at += 3 + (type === blockRle ? 1 : block >> 3);
  }
  return at + checksumBytes === stored.length ? null : 'the zstd frame does not end where the stored bytes end';
}

/** The announced content size; null when the frame has none. */
function contentSizeAt(stored: Uint8Array, at: number, sizeBytes: number): bigint | null {
  switch (sizeBytes) {
    case 1:
      return BigInt(u8(stored, at));
    case 2:
      return BigInt(u16(stored, at) + 256);
    case 4:
      return BigInt(u32(stored, at));
    case 8:
      return u64(stored, at);
    default:
      return null;
  }
}
