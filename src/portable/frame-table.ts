/**
 * Where frames stand: from an id to packs and offsets, in 20 bytes a slot.
 *
 * The table keeps 8 of an id's 32 bytes. That is enough, because whatever is read at a place is proven by its full id:
 * two ids that begin alike cost one read more and can never give wrong bytes. Ids are keyed hashes, so their first
 * bytes are as good as a hash of them. Open addressing with linear probing, at most three quarters full.
 */

import type { ContentId } from './brands.js';
import { u32 } from './bytes.js';

const wordsPerSlot = 5;
const slotsAtFirst = 1024;

/** Where a frame stands. */
export interface FramePlace {
  /** Index of the pack in the store's list. */
  readonly pack: number;
  readonly offset: number;
  readonly frameBytes: number;
}

/** A multimap from ids to places; the same id may stand in several frames. */
export class FrameTable {
  /** Per slot: pack index + 1 (0: free), offset, frame length, bytes 0 to 3 of the id, bytes 4 to 7. */
  #words: Uint32Array = new Uint32Array(slotsAtFirst * wordsPerSlot);
  #slots = slotsAtFirst;
  #count = 0;

  /** How many places it holds. */
  get count(): number {
    return this.#count;
  }

  add(id: ContentId, place: FramePlace): void {
    if ((this.#count + 1) * 4 > this.#slots * 3) this.#grow();
    this.#insert([place.pack + 1, place.offset, place.frameBytes, u32(id, 0), u32(id, 4)]);
    this.#count += 1;
  }

  /** The places where a frame with this id may stand, in no particular order. */
  lookup(id: ContentId): readonly FramePlace[] {
    const places: FramePlace[] = [];
    const low = u32(id, 0);
    const high = u32(id, 4);
    for (let slot = low & (this.#slots - 1); this.#word(slot, 0) !== 0; slot = (slot + 1) & (this.#slots - 1)) {
      if (this.#word(slot, 3) !== low || this.#word(slot, 4) !== high) continue;
      places.push({ pack: this.#word(slot, 0) - 1, offset: this.#word(slot, 1), frameBytes: this.#word(slot, 2) });
    }
    return places;
  }

  #word(slot: number, index: number): number {
    const word = this.#words[slot * wordsPerSlot + index];
    if (word === undefined) throw new RangeError(`slot ${slot} of ${this.#slots}`);
    return word;
  }

  #insert(words: readonly [number, number, number, number, number]): void {
    let slot = words[3] & (this.#slots - 1);
    while (this.#word(slot, 0) !== 0) slot = (slot + 1) & (this.#slots - 1);
    this.#words.set(words, slot * wordsPerSlot);
  }

  #grow(): void {
    const before = this.#words;
    this.#slots *= 2;
    this.#words = new Uint32Array(this.#slots * wordsPerSlot);
    for (let at = 0; at < before.length; at += wordsPerSlot) {
      const [pack = 0, offset = 0, frameBytes = 0, low = 0, high = 0] = before.subarray(at, at + wordsPerSlot);
      if (pack !== 0) this.#insert([pack, offset, frameBytes, low, high]);
    }
  }
}
