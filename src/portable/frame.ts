/**
 * Frame headers (format.md section 4.2).
 *
 *      0        4     5     6      8          40       44        48       52        56         64        72      104
 *     | SPFR   |codec|kind | zero | id       | plain  | stored  | key id | domain | checksum | header  | base id |
 *     |        |     |     |      | 32 bytes | length | length  |        |        | of stored| checksum| codec 3 |
 *
 * A header is valid when its own checksum holds and every field is in range for the pack that it stands in. That says
 * nothing about the stored bytes yet.
 */

import { contentIdAt, type ContentId } from './brands.js';
import { hasText, isZero, u32, u64, u8 } from './bytes.js';
import { codecDelta, codecPlain } from './codec.js';
import type { Checksum } from './hashes.js';
import { kindNumber, type ContentKind } from './pack-header.js';

/** Length of a frame header without a base id; no header is shorter. */
export const frameHeaderBytes = 72;

/** Length of a frame header with a base id; no header is longer. */
export const frameHeaderBytesMax = 104;

/** The first bytes of each frame. */
export const frameMagic = 'SPFR';

/** A node with 64 ids; none is longer. */
const nodeBytesMax = 8 + 64 + 64 * 32;

/** What is known of a frame before it is read. */
export interface FrameSetting {
  readonly kind: ContentKind;
  /** The pack's key domain; null when the pack's header is damaged. */
  readonly domain: number | null;
  readonly chunkBytes: number;
}

export interface FrameHeader {
  readonly codec: number;
  readonly kind: ContentKind;
  readonly id: ContentId;
  readonly plainBytes: number;
  readonly storedBytes: number;
  readonly domain: number;
  readonly storedChecksum: bigint;
  /** The base of a delta; null with any other codec. */
  readonly baseId: ContentId | null;
  /** Length of the header, the base id included. */
  readonly headerBytes: number;
}

/** Length of the header of a frame with this codec. */
export function headerBytesOf(codec: number): number {
  return codec === codecDelta ? frameHeaderBytesMax : frameHeaderBytes;
}

/** Why lengths and codec cannot be those of a frame; null when they can. */
export function frameLengthDefect(
  setting: FrameSetting,
  codec: number,
  plainBytes: number,
  storedBytes: number,
): string | null {
  const [plainMin, plainMax] = setting.kind === 'chunk' ? [1, setting.chunkBytes] : [8, nodeBytesMax];
  if (codec > codecDelta) return `codec ${codec}`;
  if (codec === codecDelta && setting.kind === 'node') return 'a node as a delta';
  if (plainBytes < plainMin || plainBytes > plainMax) return `plain length ${plainBytes}`;
  if (storedBytes < 1 || storedBytes > plainBytes) return `stored length ${storedBytes} of ${plainBytes}`;
  if (codec === codecPlain && storedBytes !== plainBytes) return `stored length ${storedBytes} of ${plainBytes}, plain`;
  return null;
}

/** Whether a header with a right checksum stands at `at`. Cheap; what it says may still be out of range. */
export function frameHeaderHolds(bytes: Uint8Array, at: number, checksum: Checksum): boolean {
  if (at + frameHeaderBytes > bytes.length || !hasText(bytes, at, frameMagic)) return false;
  const header = bytes.subarray(at, at + headerBytesOf(u8(bytes, at + 4)));
  if (header.length !== headerBytesOf(u8(header, 4))) return false;
  return checksum(checksummedBytes(header)) === u64(header, 64);
}

/** Bytes 0 to 63 of the header, then the base id if there is one. */
function checksummedBytes(header: Uint8Array): Uint8Array {
  if (header.length === frameHeaderBytes) return header.subarray(0, 64);
  const joined = new Uint8Array(96);
  joined.set(header.subarray(0, 64), 0);
  joined.set(header.subarray(frameHeaderBytes), 64);
  return joined;
}

/** Reads the header at `at`. Throws an `Error` that says why when it is not valid. */
export function parseFrameHeader(
  bytes: Uint8Array,
  at: number,
  setting: FrameSetting,
  checksum: Checksum,
): FrameHeader {
  if (!frameHeaderHolds(bytes, at, checksum)) throw new Error('magic or checksum of the frame header does not hold');
  const header = bytes.subarray(at);
  const codec = u8(header, 4);
  const plainBytes = u32(header, 40);
  const storedBytes = u32(header, 44);
  const domain = u32(header, 52);
  const defect = frameLengthDefect(setting, codec, plainBytes, storedBytes);
  if (defect !== null) throw new Error(`the frame header has ${defect}`);
  if (u8(header, 5) !== kindNumber(setting.kind)) throw new Error(`the frame header has kind ${u8(header, 5)}`);
  if (!isZero(header, 6, 8)) throw new Error('the frame header has bytes that must be zero');
  if (u32(header, 48) !== 0) throw new Error(`the frame header has key id ${u32(header, 48)}, the pack 0`);
  if (setting.domain !== null && domain !== setting.domain) {
    throw new Error(`the frame header has key domain ${domain}, the pack ${setting.domain}`);
  }
  return {
    codec,
    kind: setting.kind,
    id: contentIdAt(header, 8),
    plainBytes,
    storedBytes,
    domain,
    storedChecksum: u64(header, 56),
    baseId: codec === codecDelta ? contentIdAt(header, frameHeaderBytes) : null,
    headerBytes: headerBytesOf(codec),
  };
}
