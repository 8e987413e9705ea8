/**
 * The tree over the chunks of one disk (format.md section 6).
 *
 * A *place* is a position in the tree: level, first chunk, and the entry that stands there. Invariants, checked for
 * each place before anything below it is read:
 *
 * 1. What lies past the end of the disk is hole: a place that begins there holds nothing else, and a fill above
 *    level 0 does not reach across the end.
 * 2. A last chunk that is shorter than the chunk size is not a fill of a value other than 0.
 * 3. The node of a place has the level of the place.
 */

import type { ContentId } from './brands.js';
import { hex } from './bytes.js';
import type { ContentStore } from './content.js';
import { messageOf, PortableError } from './errors.js';
import { fanOut, hole, levelMax, parseNode, type Entry, type MapNode, type MapRoot } from './node.js';

/** Everything needed to find a disk's chunks. */
export interface BlockMap {
  readonly root: MapRoot;
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  /** Key domain of its chunks and nodes. */
  readonly domain: number;
}

/** A position in the tree of one disk. */
export interface Place {
  readonly entry: Entry;
  /** 0: the entry stands for one chunk. */
  readonly level: number;
  readonly firstChunk: number;
}

/** Chunks [firstChunk, firstChunk + chunkCount) that hold the same: nothing, one byte value, or one chunk. */
export interface ChunkRun {
  readonly entry: Entry;
  readonly firstChunk: number;
  readonly chunkCount: number;
}

export function chunkCountOf(sizeBytes: number, chunkBytes: number): number {
  return Math.ceil(sizeBytes / chunkBytes);
}

/** The smallest height whose tree has a place for each chunk; null when no tree does. */
export function heightFor(chunkCount: number): number | null {
  for (let height = 0; height <= levelMax; height += 1) {
    if (fanOut ** height >= chunkCount) return height;
  }
  return null;
}

/** How many bytes of the disk the chunk at an index stands for; less than the chunk size only at the end. */
export function placeBytes(map: BlockMap, chunkIndex: number): number {
  return Math.min(map.chunkBytes, map.sizeBytes - chunkIndex * map.chunkBytes);
}

/** Why an entry cannot stand in a place of this disk; null when it can. */
function placeDefect(map: BlockMap, place: Place): string | null {
  const chunkCount = chunkCountOf(map.sizeBytes, map.chunkBytes);
  const { entry, firstChunk, level } = place;
  if (entry.tag === 'hole') return null;
  if (firstChunk >= chunkCount) return `a ${entry.tag} at chunk ${firstChunk}, past the end of the disk`;
  if (entry.tag === 'id') return null;
  if (firstChunk + fanOut ** level > chunkCount) return `a fill at chunk ${firstChunk} that reaches past the end`;
  const isShort = level === 0 && placeBytes(map, firstChunk) < map.chunkBytes;
  return isShort && entry.value !== 0 ? `a fill of ${entry.value} in the place of a short chunk` : null;
}

/** The root's place. Throws an `Error` that says why when the root cannot be that of this disk. */
export function rootPlace(map: BlockMap): Place {
  const height = heightFor(chunkCountOf(map.sizeBytes, map.chunkBytes));
  if (map.root.height !== height) throw new Error(`the root has height ${map.root.height} instead of ${height}`);
  const place = { entry: map.root.entry, level: map.root.height, firstChunk: 0 };
  const defect = placeDefect(map, place);
  if (defect !== null) throw new Error(`the root is ${defect}`);
  return place;
}

/** The 64 places below a place that holds a node. Throws `NODE_DAMAGED` when the node cannot stand there. */
export function placesBelow(map: BlockMap, place: Place, id: ContentId, node: MapNode): readonly Place[] {
  const refuse = (defect: string): PortableError => {
    const message = `node ${hex(id)} cannot stand at chunk ${place.firstChunk}: it has ${defect}`;
    return new PortableError('NODE_DAMAGED', message, { id: hex(id), firstChunk: place.firstChunk });
  };
  if (node.level !== place.level) throw refuse(`level ${node.level} instead of ${place.level}`);
  const step = fanOut ** (place.level - 1);
  return Array.from({ length: fanOut }, (_, index) => {
    const entry = node.entries[index] ?? hole;
    const below = { entry, level: place.level - 1, firstChunk: place.firstChunk + index * step };
    const defect = placeDefect(map, below);
    if (defect !== null) throw refuse(defect);
    return below;
  });
}

/** Nodes by id, the last used ones kept decoded. */
export class NodeReader {
  readonly #content: ContentStore;
  readonly #cacheMax: number;
  /** In the order of last use, the oldest first. */
  readonly #cache = new Map<string, MapNode>();

  constructor(content: ContentStore, cacheMax = 256) {
    this.#content = content;
    this.#cacheMax = cacheMax;
  }

  /** Throws what `ContentStore.read` throws, and `NODE_DAMAGED` when the node is not canonical. */
  async read(id: ContentId, domain: number): Promise<MapNode> {
    const key = `${domain}:${hex(id)}`;
    const known = this.#cache.get(key);
    const node = known ?? parseProven(id, await this.#content.read(id, 'node', domain));
    this.#cache.delete(key);
    this.#cache.set(key, node);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= this.#cacheMax) break;
      this.#cache.delete(oldest);
    }
    return node;
  }
}

function parseProven(id: ContentId, bytes: Uint8Array): MapNode {
  try {
    return parseNode(bytes);
  } catch (error) {
    throw new PortableError('NODE_DAMAGED', `node ${hex(id)}: ${messageOf(error)}`, { id: hex(id) }, error);
  }
}

/** The content of chunks [from, to) in order. Runs are not merged; none is empty. */
export async function* chunkRuns(
  nodes: NodeReader,
  map: BlockMap,
  from: number,
  to: number,
): AsyncGenerator<ChunkRun, void, undefined> {
  // A stack instead of recursion: generators within generators cost a step for each level and value.
  const stack: Place[] = [rootPlace(map)];
  for (let place = stack.pop(); place !== undefined; place = stack.pop()) {
    const first = Math.max(from, place.firstChunk);
    const end = Math.min(to, place.firstChunk + fanOut ** place.level);
    if (first >= end) continue;
    if (place.level > 0 && place.entry.tag === 'id') {
      const node = await nodes.read(place.entry.id, map.domain);
      stack.push(...[...placesBelow(map, place, place.entry.id, node)].reverse());
    } else {
      yield { entry: place.entry, firstChunk: first, chunkCount: end - first };
    }
  }
}
