/**
 * Finding the frames of a pack whose trailer cannot be trusted (format.md section 4.4).
 *
 * From byte 64 on, frames are walked from header to header. Where that breaks, the next `SPFR` with a right header
 * checksum is searched for. A chunk may hold anything, also a copy of a frame, so from the first break on a frame
 * counts only once its plain bytes were decoded and its id recomputed; that goes for the frames walked to from a found
 * one too, for they may lie inside a chunk with it. A refuted find does not hide what lies within its alleged bytes:
 * the search goes on one magic further.
 *
 * Cost: reads the pack once, and decodes each frame behind the first break.
 */

import { Buffer } from 'node:buffer';

import { frameHeaderBytesMax, frameHeaderHolds, frameMagic, parseFrameHeader, type FrameHeader } from './frame.js';
import type { Checksum } from './hashes.js';
import type { Pack } from './pack-files.js';
import { packHeaderBytes } from './pack-header.js';
import type { PackFrame } from './trailer.js';

const windowBytes = 1024 * 1024;

/**
 * What proving a found frame gave. `undecided`: a delta whose base is not known yet, perhaps because it stands in a
 * pack that is salvaged later.
 */
export type Proof = 'proven' | 'refuted' | 'undecided';

export interface SalvagedFrames {
  /** Frames that count, in the order of their offsets. */
  readonly frames: readonly PackFrame[];
  /** Frames that count if they prove to be sound once all packs are known. */
  readonly undecided: readonly PackFrame[];
}

/** A pack read in large pieces from front to back; small steps back are cheap too. */
class PackWindow {
  readonly fileBytes: number;
  readonly #read: (offset: number, length: number) => Promise<Uint8Array>;
  #from = 0;
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(fileBytes: number, read: (offset: number, length: number) => Promise<Uint8Array>) {
    this.fileBytes = fileBytes;
    this.#read = read;
  }

  /** The bytes at hand from `offset` on: at least `bytesMin`, fewer only at the end of the file. */
  async from(offset: number, bytesMin: number): Promise<Uint8Array> {
    const end = Math.min(offset + bytesMin, this.fileBytes);
    if (offset < this.#from || end > this.#from + this.#bytes.length) {
      this.#bytes = await this.#read(offset, windowBytes);
      this.#from = offset;
    }
    return this.#bytes.subarray(offset - this.#from);
  }

  /** Where the next frame magic stands at or after `offset`; null when there is none. */
  async findMagic(offset: number): Promise<number | null> {
    const magicBytes = frameMagic.length;
    for (let at = offset; ;) {
      const bytes = await this.from(at, magicBytes);
      if (bytes.length < magicBytes) return null;
      const index = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf(frameMagic, 0, 'latin1');
      if (index >= 0) return at + index;
      at += bytes.length - magicBytes + 1;
    }
  }
}

function announced(header: FrameHeader, offset: number): PackFrame {
  const { id, storedBytes, plainBytes, codec, baseId } = header;
  return { id, offset, frameBytes: header.headerBytes + storedBytes, storedBytes, plainBytes, codec, baseId };
}

/** The frame whose header stands at `offset`, or null when there is none or the file ends within it. */
async function frameAt(window: PackWindow, pack: Pack, offset: number, checksum: Checksum): Promise<PackFrame | null> {
  const bytes = await window.from(offset, frameHeaderBytesMax);
  if (!frameHeaderHolds(bytes, 0, checksum)) return null;
  try {
    const frame = announced(parseFrameHeader(bytes, 0, pack.setting, checksum), offset);
    return offset + frame.frameBytes <= pack.fileBytes ? frame : null;
  } catch {
    // A header with a right checksum that this pack cannot have: a copy of one from elsewhere.
    return null;
  }
}

/** Finds the frames of a pack. `prove` decodes a frame and recomputes its id; `read` reads from the pack. */
export async function salvageFrames(
  pack: Pack,
  read: (offset: number, length: number) => Promise<Uint8Array>,
  prove: (frame: PackFrame) => Promise<Proof>,
  checksum: Checksum,
): Promise<SalvagedFrames> {
  const window = new PackWindow(pack.fileBytes, read);
  const frames: PackFrame[] = [];
  const undecided: PackFrame[] = [];
  let at: number | null = packHeaderBytes;
  let searched = false;
  while (at !== null) {
    const frame: PackFrame | null = await frameAt(window, pack, at, checksum);
    const proof: Proof = frame === null ? 'refuted' : searched ? await prove(frame) : 'proven';
    if (frame !== null && proof === 'proven') {
      frames.push(frame);
      at = frame.offset + frame.frameBytes;
      continue;
    }
    if (frame !== null && proof === 'undecided') undecided.push(frame);
    searched = true;
    at = await window.findMagic(at + 1);
  }
  return { frames, undecided };
}

/** The parts of a pack between its header and its last frame where no frame counts. */
export function gapsBetween(
  frames: readonly PackFrame[],
): readonly { readonly offset: number; readonly length: number }[] {
  const gaps: { offset: number; length: number }[] = [];
  let end = packHeaderBytes;
  for (const frame of [...frames].sort((left, right) => left.offset - right.offset)) {
    if (frame.offset > end) gaps.push({ offset: end, length: frame.offset - end });
    end = Math.max(end, frame.offset + frame.frameBytes);
  }
  return gaps;
}
