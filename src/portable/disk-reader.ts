/**
 * The content of one disk restore point, as extents in order.
 *
 * One chunk is in memory at a time. Every byte of data was proven by its chunk's id just before it is handed out.
 */

import { chunkRuns, placeBytes, type BlockMap, type ChunkRun, type NodeReader } from './block-map.js';
import type { ContentId } from './brands.js';
import { hex } from './bytes.js';
import type { ContentStore } from './content.js';
import { PortableError } from './errors.js';

/** A piece of a disk: bytes, or a range that reads as zero. */
export type DiskExtent =
  | { readonly kind: 'data'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number };

/** What reading disks takes of a store. */
export interface DiskSource {
  readonly content: ContentStore;
  readonly nodes: NodeReader;
}

/** The plain bytes of a chunk that stands in a place of `bytesMax` bytes; it may be shorter. */
export async function readChunk(
  content: ContentStore,
  map: BlockMap,
  id: ContentId,
  bytesMax: number,
): Promise<Uint8Array> {
  const bytes = await content.read(id, 'chunk', map.domain);
  if (bytes.length <= bytesMax) return bytes;
  const message = `chunk ${hex(id)} has ${bytes.length} bytes and stands in a place of ${bytesMax}`;
  throw new PortableError('CHUNK_DAMAGED', message, { id: hex(id) });
}

/** The pieces of a run, chunk by chunk; long stretches of zero in one piece. */
async function* piecesOf(
  content: ContentStore,
  map: BlockMap,
  run: ChunkRun,
): AsyncGenerator<DiskExtent, void, undefined> {
  const { entry } = run;
  const runAt = run.firstChunk * map.chunkBytes;
  const runEnd = Math.min((run.firstChunk + run.chunkCount) * map.chunkBytes, map.sizeBytes);
  if (entry.tag === 'hole' || (entry.tag === 'fill' && entry.value === 0)) {
    yield { kind: 'zero', offset: runAt, length: runEnd - runAt };
    return;
  }
  for (let chunk = run.firstChunk; chunk < run.firstChunk + run.chunkCount; chunk += 1) {
    const offset = chunk * map.chunkBytes;
    const length = placeBytes(map, chunk);
    const bytes =
      entry.tag === 'fill' ? new Uint8Array(length).fill(entry.value) : await readChunk(content, map, entry.id, length);
    yield { kind: 'data', offset, bytes };
    // A disk that grew after the chunk was stored: what the chunk does not have reads as zero.
    if (bytes.length < length) {
      yield { kind: 'zero', offset: offset + bytes.length, length: length - bytes.length };
    }
  }
}

/** The part of a piece within [from, to); null when there is none. */
function clip(piece: DiskExtent, from: number, to: number): DiskExtent | null {
  const length = piece.kind === 'data' ? piece.bytes.length : piece.length;
  const first = Math.max(piece.offset, from);
  const end = Math.min(piece.offset + length, to);
  if (first >= end) return null;
  if (piece.kind === 'zero') return { kind: 'zero', offset: first, length: end - first };
  return { kind: 'data', offset: first, bytes: piece.bytes.subarray(first - piece.offset, end - piece.offset) };
}

/** The content of [from, to) of a disk: extents in order that cover it wholly; neighbouring zeros are merged. */
export async function* diskExtents(
  source: DiskSource,
  map: BlockMap,
  from: number,
  to: number,
): AsyncGenerator<DiskExtent, void, undefined> {
  const firstChunk = Math.floor(from / map.chunkBytes);
  const endChunk = Math.ceil(to / map.chunkBytes);
  // Extents cover the range without a gap, so what is pending ends where the next one begins.
  let zeroBytes = 0;
  for await (const run of chunkRuns(source.nodes, map, firstChunk, endChunk)) {
    for await (const piece of piecesOf(source.content, map, run)) {
      const extent = clip(piece, from, to);
      if (extent === null) continue;
      if (extent.kind === 'zero') {
        zeroBytes += extent.length;
        continue;
      }
      if (zeroBytes > 0) yield { kind: 'zero', offset: extent.offset - zeroBytes, length: zeroBytes };
      zeroBytes = 0;
      yield extent;
    }
  }
  if (zeroBytes > 0) yield { kind: 'zero', offset: to - zeroBytes, length: zeroBytes };
}

/** The bytes [offset, offset + length) of a disk. */
export async function readBytes(
  source: DiskSource,
  map: BlockMap,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for await (const extent of diskExtents(source, map, offset, offset + length)) {
    if (extent.kind === 'data') bytes.set(extent.bytes, extent.offset - offset);
  }
  return bytes;
}
