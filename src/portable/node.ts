/**
 * Nodes of a block map (format.md section 6): parsing, and the check that they are canonical.
 *
 * Equal content has one node only, so whatever is not canonical was not written by the engine and is refused: wrong
 * counts or length, trailing holes, all holes, 64 fills of one value.
 */

import { contentIdAt, type ContentId } from './brands.js';
import { isZero, u8 } from './bytes.js';

/** Entries of a node; also the factor between two levels. */
export const fanOut = 64;

/** No tree is higher. */
export const levelMax = 6;

export const tagHole = 0;
export const tagFill = 1;
export const tagId = 2;

/** What stands in one place of the tree. */
export type Entry =
  | { readonly tag: 'hole' }
  | { readonly tag: 'fill'; readonly value: number }
  | { readonly tag: 'id'; readonly id: ContentId };

/** The entry that stands where nothing is allocated. */
export const hole: Entry = { tag: 'hole' };

export interface MapNode {
  readonly level: number;
  /** At least one; what is left out behind them is hole. */
  readonly entries: readonly Entry[];
}

const headBytes = 8;
const idBytes = 32;

/** Reads a node. Throws an `Error` that says why when the bytes are no canonical node. */
export function parseNode(bytes: Uint8Array): MapNode {
  if (bytes.length < headBytes || u8(bytes, 0) !== 0x4e) throw new Error('the node does not begin with its magic');
  const level = u8(bytes, 1);
  const entryCount = u8(bytes, 2);
  const fillCount = u8(bytes, 3);
  const idCount = u8(bytes, 4);
  if (level < 1 || level > levelMax) throw new Error(`the node has level ${level}`);
  if (entryCount < 1 || entryCount > fanOut) throw new Error(`the node has ${entryCount} entries`);
  if (!isZero(bytes, 5, headBytes)) throw new Error('the node has bytes that must be zero');
  const fillsAt = headBytes + entryCount;
  const idsAt = fillsAt + fillCount;
  if (bytes.length !== idsAt + idCount * idBytes) throw new Error(`the node has ${bytes.length} bytes`);

  const tags = Array.from(bytes.subarray(headBytes, fillsAt));
  const countOf = (tag: number): number => tags.filter((each) => each === tag).length;
  if (countOf(tagFill) !== fillCount || countOf(tagId) !== idCount) throw new Error('the node counts its tags wrongly');
  if (countOf(tagHole) + fillCount + idCount !== entryCount) throw new Error('the node has a tag that does not exist');
  if (tags.at(-1) === tagHole) throw new Error('the node is not canonical: its last entry is a hole');
  const fills = bytes.subarray(fillsAt, idsAt);
  if (fillCount === fanOut && fills.every((value) => value === fills[0])) {
    throw new Error('the node is not canonical: all its entries are one fill');
  }

  let fillAt = fillsAt;
  let idAt = idsAt;
  const entries = tags.map((tag): Entry => {
    if (tag === tagHole) return hole;
    if (tag === tagFill) return { tag: 'fill', value: u8(bytes, fillAt++) };
    idAt += idBytes;
    return { tag: 'id', id: contentIdAt(bytes, idAt - idBytes) };
  });
  return { level, entries };
}

/** A root as other files write it, with the height of its tree. */
export interface MapRoot {
  readonly entry: Entry;
  readonly height: number;
}

/** Length of a root in other files. */
export const rootBytes = 40;

/** Reads a root. Throws an `Error` that says why when the bytes are none. */
export function parseRoot(bytes: Uint8Array): MapRoot {
  if (bytes.length !== rootBytes) throw new RangeError(`a root of ${bytes.length} bytes`);
  const tag = u8(bytes, 0);
  const height = u8(bytes, 1);
  const value = u8(bytes, 2);
  if (tag > tagId) throw new Error(`the root has tag ${tag}`);
  if (height > levelMax) throw new Error(`the root has height ${height}`);
  if (!isZero(bytes, 3, 8)) throw new Error('the root has bytes that must be zero');
  if (tag !== tagFill && value !== 0) throw new Error('the root has a value and is no fill');
  if (tag !== tagId && !isZero(bytes, 8, rootBytes)) throw new Error('the root has an id and is no node or chunk');
  if (tag === tagHole) return { entry: hole, height };
  if (tag === tagFill) return { entry: { tag: 'fill', value }, height };
  return { entry: { tag: 'id', id: contentIdAt(bytes, 8) }, height };
}
