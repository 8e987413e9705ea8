/**
 * Verification: is every byte of the store what it should be, and if not, what does that hit?
 *
 * 1. Loading the store anew finds what is wrong with config, manifests, pack headers and trailers.
 * 2. Every frame of every pack is read: header, checksum, decoding, id; and what its trailer says of it.
 * 3. The tree of every disk is walked: every node is there, canonical and of the right level, every chunk is there and
 *    sound. A subtree that lies wholly inside its disk and was found sound is not walked again for the next point.
 *
 * Cost: reads and decodes each frame once (deltas read their base too); memory for one id per distinct node.
 */

import { placesBelow, rootPlace, placeBytes, type BlockMap, type Place } from './block-map.js';
import type { ContentId } from './brands.js';
import { hex } from './bytes.js';
import { DamageLog, type DiskReference } from './damage-log.js';
import { readChunk } from './disk-reader.js';
import { messageOf, PortableError, throwIfCancelled, type PortableErrorCode } from './errors.js';
import { fanOut, parseNode } from './node.js';
import { announcementDefect } from './pack-loader.js';
import { pathOf, type StoredPoint } from './point.js';
import { problemOf, type ByteRange, type PortableProblem } from './problem.js';
import type { LongCallOptions } from './restore.js';
import { loadSnapshot, type Snapshot } from './snapshot.js';
import type { PackFrame } from './trailer.js';

/** Verifies the store in a directory as it is now. Throws what opening it throws, and `CANCELLED`. */
export async function verifyStore(storePath: string, options: LongCallOptions): Promise<readonly PortableProblem[]> {
  const snapshot = await loadSnapshot(storePath);
  try {
    return await new Verification(snapshot, options).run();
  } finally {
    await snapshot.close();
  }
}

/** A disk restore point on its way through the walk. */
interface Subject extends DiskReference {
  readonly point: StoredPoint;
  readonly map: BlockMap;
}

class Verification {
  readonly #snapshot: Snapshot;
  readonly #options: LongCallOptions;
  readonly #log = new DamageLog();
  /** Nodes whose subtrees were found sound, with domain and level. */
  readonly #sound = new Set<string>();

  constructor(snapshot: Snapshot, options: LongCallOptions) {
    this.#snapshot = snapshot;
    this.#options = options;
  }

  async run(): Promise<readonly PortableProblem[]> {
    for (const problem of this.#snapshot.problems) this.#log.add(problem);
    await this.#checkPacks();
    for (const point of this.#snapshot.points) {
      for (const [diskId, map] of point.maps) {
        await this.#checkPlace({ pointId: point.id, diskId, point, map }, rootPlace(map));
      }
    }
    return this.#log.problems();
  }

  async #checkPacks(): Promise<void> {
    const { packs } = this.#snapshot.content;
    const totalBytes = packs.reduce((sum, pack) => sum + pack.fileBytes, 0);
    let doneBytes = 0;
    for (const [index, pack] of packs.entries()) {
      let frames: readonly PackFrame[] = [];
      try {
        frames = await this.#snapshot.packs.framesOf(index);
      } catch (error) {
        const message = `${pack.file} changed while the store was verified: ${messageOf(error)}`;
        this.#log.add(problemOf(codeOf(error, 'STORE_DAMAGED'), message, pack.file, null));
      }
      for (const frame of frames) {
        throwIfCancelled(this.#options.signal, 'the verification');
        await this.#checkFrame(index, frame);
        this.#options.onProgress?.({ doneBytes: doneBytes + frame.offset + frame.frameBytes, totalBytes });
      }
      doneBytes += pack.fileBytes;
      this.#options.onProgress?.({ doneBytes, totalBytes });
    }
  }

  async #checkFrame(packIndex: number, announced: PackFrame): Promise<void> {
    const { content } = this.#snapshot;
    const pack = content.packs[packIndex];
    if (pack === undefined) throw new RangeError(`pack ${packIndex}`);
    const { offset, frameBytes, id } = announced;
    try {
      const frame = await content.readFrame({ pack: packIndex, offset, frameBytes });
      const defect = announcementDefect(announced, frame.header);
      if (defect !== null) throw new Error(`its header has ${defect}`);
      const plain = await content.prove(frame);
      if (pack.kind === 'node') parseNode(plain);
    } catch (error) {
      const code = codeOf(error, pack.kind === 'chunk' ? 'CHUNK_DAMAGED' : 'NODE_DAMAGED');
      const message = `${pack.kind} ${hex(id)} at ${offset} of ${pack.file}: ${messageOf(error)}`;
      this.#log.addOfContent(id, problemOf(code, message, pack.file, offset, frameBytes));
    }
  }

  /** Checks what stands in a place and all below it; returns whether it is sound. */
  async #checkPlace(subject: Subject, place: Place): Promise<boolean> {
    throwIfCancelled(this.#options.signal, 'the verification');
    if (place.entry.tag !== 'id') return true;
    const { id } = place.entry;
    return place.level === 0 ? this.#checkChunk(subject, place, id) : this.#checkNode(subject, place, id);
  }

  async #checkChunk(subject: Subject, place: Place, id: ContentId): Promise<boolean> {
    const { content } = this.#snapshot;
    const bytesMax = placeBytes(subject.map, place.firstChunk);
    // Each frame was read once already. What is left to find out: whether there is one, whether a damaged one has a
    // sound twin, and whether a chunk fits into the short place at the end of a disk.
    const isSettled = content.has(id) && !this.#log.hasContent(id) && bytesMax === subject.map.chunkBytes;
    if (isSettled) return true;
    try {
      await readChunk(content, subject.map, id, bytesMax);
      return true;
    } catch (error) {
      this.#hit(subject, place, id, error);
      return false;
    }
  }

  async #checkNode(subject: Subject, place: Place, id: ContentId): Promise<boolean> {
    const { map } = subject;
    const key = `${map.domain}:${place.level}:${hex(id)}`;
    const isInside = (place.firstChunk + fanOut ** place.level) * map.chunkBytes <= map.sizeBytes;
    if (isInside && this.#sound.has(key)) return true;
    let below: readonly Place[];
    try {
      below = placesBelow(map, place, id, await this.#snapshot.nodes.read(id, map.domain));
    } catch (error) {
      this.#hit(subject, place, id, error);
      return false;
    }
    let isSound = true;
    for (const each of below) isSound = (await this.#checkPlace(subject, each)) && isSound;
    if (isSound && isInside) this.#sound.add(key);
    return isSound;
  }

  /** Notes that a place cannot be read: with the problems of its frames, or else as a problem of the point. */
  #hit(subject: Subject, place: Place, id: ContentId, error: unknown): void {
    const { map, point, pointId, diskId } = subject;
    const offset = place.firstChunk * map.chunkBytes;
    const end = Math.min((place.firstChunk + fanOut ** place.level) * map.chunkBytes, map.sizeBytes);
    const range: ByteRange = { offset, length: end - offset };
    if (this.#log.hasContent(id)) {
      this.#log.hitContent(id, { pointId, diskId }, range);
      return;
    }
    const code = codeOf(error, place.level === 0 ? 'CHUNK_DAMAGED' : 'NODE_DAMAGED');
    const make = (): PortableProblem => {
      const role = point.listed.disks.find((disk) => disk.id === diskId)?.role ?? diskId;
      const message = `disk ${role} of ${pathOf(point.listed)} cannot be read whole, first at ${offset}: ${messageOf(error)}`;
      return problemOf(code, message, point.file, null);
    };
    this.#log.hitKeyed(`${pointId}/${diskId}/${code}`, make, { pointId, diskId }, range);
  }
}

function codeOf(error: unknown, otherwise: PortableErrorCode): PortableErrorCode {
  return error instanceof PortableError ? error.code : otherwise;
}
