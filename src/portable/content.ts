/**
 * Chunks and nodes by id: find the frame, check it, decode it, prove it (format.md sections 4 and 11).
 *
 * Guarantees: what comes back hashes to the id asked for. An id may stand in several frames; a damaged one is passed
 * over while another is sound. Nothing is cached: one frame is in memory at a time, and its base when it is a delta.
 *
 * Must not import: block maps, manifests, disks. It does not know what the bytes mean.
 */

import { asProven, type ContentId, type ProvenBytes } from './brands.js';
import { hex, sameBytes } from './bytes.js';
import { codecDelta, codecLz4, codecPlain, codecZstd, type ZstdDecoder } from './codec.js';
import { messageOf, PortableError, type PortableErrorCode, type PortableErrorContext } from './errors.js';
import { parseFrameHeader, type FrameHeader } from './frame.js';
import { FrameTable, type FramePlace } from './frame-table.js';
import type { Checksum, DomainHashes } from './hashes.js';
import { decodeLz4Block } from './lz4.js';
import type { Pack, PackFiles } from './pack-files.js';
import type { ContentKind } from './pack-header.js';
import type { PackFrame } from './trailer.js';

/** A frame whose header is valid; its stored bytes are as they were read. */
export interface Frame {
  readonly header: FrameHeader;
  readonly stored: Uint8Array;
  /** What it is, for messages and errors. */
  readonly context: PortableErrorContext;
}

/** The tools that checking a frame takes. */
export interface Tools {
  readonly checksum: Checksum;
  readonly decoder: ZstdDecoder;
  /** By number of the key domain. */
  readonly hashes: ReadonlyMap<number, DomainHashes>;
}

const damagedCode = { chunk: 'CHUNK_DAMAGED', node: 'NODE_DAMAGED' } as const satisfies Record<
  string,
  PortableErrorCode
>;
const missingCode = { chunk: 'CHUNK_MISSING', node: 'NODE_MISSING' } as const satisfies Record<
  string,
  PortableErrorCode
>;

/** The packs of a store and what stands in them. */
export class ContentStore {
  readonly #files: PackFiles;
  readonly #tools: Tools;
  readonly #table = new FrameTable();
  readonly #packs: Pack[] = [];

  constructor(files: PackFiles, tools: Tools) {
    this.#files = files;
    this.#tools = tools;
  }

  get packs(): readonly Pack[] {
    return this.#packs;
  }

  /** Adds a pack; its frames are announced one by one. Returns its index. */
  addPack(pack: Pack): number {
    return this.#packs.push(pack) - 1;
  }

  /** Announces a frame, which need not be proven: each read proves it. */
  addFrame(packIndex: number, frame: PackFrame): void {
    this.#table.add(frame.id, { pack: packIndex, offset: frame.offset, frameBytes: frame.frameBytes });
  }

  /** Whether a frame with this id was announced. Goes by the first 8 bytes of the id (`frame-table.ts`). */
  has(id: ContentId): boolean {
    return this.#table.lookup(id).length > 0;
  }

  /**
   * The plain bytes of a chunk or node.
   *
   * Throws `CHUNK_MISSING` or `NODE_MISSING` when no pack has it, `CHUNK_DAMAGED` or `NODE_DAMAGED` when none of its
   * frames is sound, `IO_FAILED`, `STORE_CLOSED`.
   */
  async read(id: ContentId, kind: ContentKind, domain: number): Promise<ProvenBytes> {
    const found = await this.#firstSound(id, kind, domain, (frame) => this.prove(frame));
    if (found !== null) return found;
    throw new PortableError(missingCode[kind], `${kind} ${hex(id)} is in no pack`, { id: hex(id), domain });
  }

  /** Reads the frame at a place and checks its header. The stored bytes are not looked at. */
  async readFrame(place: FramePlace): Promise<Frame> {
    const pack = this.#packs[place.pack];
    if (pack === undefined) throw new RangeError(`pack ${place.pack} of ${this.#packs.length}`);
    const context = { file: pack.file, offset: place.offset };
    const bytes = await this.#files.read(pack, place.offset, place.frameBytes);
    try {
      const header = parseFrameHeader(bytes, 0, pack.setting, this.#tools.checksum);
      if (header.headerBytes + header.storedBytes !== bytes.length) {
        throw new Error(`the frame has ${header.headerBytes + header.storedBytes} bytes, its place ${bytes.length}`);
      }
      return { header, stored: bytes.subarray(header.headerBytes), context };
    } catch (error) {
      throw damaged(pack.kind, `frame at ${place.offset} of ${pack.file}`, context, error);
    }
  }

  /** Checks, decodes and proves a frame, reading its base when it is a delta. */
  async prove(frame: Frame): Promise<ProvenBytes> {
    const { header } = frame;
    if (this.#tools.checksum(frame.stored) !== header.storedChecksum) {
      throw damaged(header.kind, describe(frame), frame.context, new Error('the checksum of its bytes does not hold'));
    }
    const base = header.baseId === null ? null : await this.#readBase(header.baseId, frame);
    const plain = this.#decode(frame, base);
    const hashes = this.#tools.hashes.get(header.domain);
    if (hashes === undefined) {
      const cause = new Error(`config does not have key domain ${header.domain}`);
      throw damaged(header.kind, describe(frame), frame.context, cause);
    }
    if (!sameBytes(hashes[header.kind](plain), header.id)) {
      throw damaged(header.kind, describe(frame), frame.context, new Error('its bytes do not give its id'));
    }
    return asProven(plain);
  }

  #decode(frame: Frame, base: ProvenBytes | null): Uint8Array {
    const { codec, kind, plainBytes } = frame.header;
    const { decoder } = this.#tools;
    try {
      if (codec === codecPlain) return frame.stored;
      if (codec === codecZstd) return decoder.full(frame.stored, plainBytes);
      if (codec === codecLz4) return decodeLz4Block(frame.stored, plainBytes);
      if (codec === codecDelta && base !== null) return decoder.delta(frame.stored, plainBytes, base);
    } catch (error) {
      throw damaged(kind, describe(frame), frame.context, error);
    }
    throw new RangeError(`codec ${codec} passed the header`);
  }

  /** The base of a delta: a chunk of the same domain that is stored full. A delta on a delta is not followed. */
  async #readBase(baseId: ContentId, delta: Frame): Promise<ProvenBytes> {
    const context = { ...delta.context, base: hex(baseId) };
    try {
      const base = await this.#firstSound(baseId, 'chunk', delta.header.domain, async (frame) =>
        frame.header.codec === codecDelta ? null : this.prove(frame),
      );
      if (base !== null) return base;
    } catch (error) {
      if (!(error instanceof PortableError) || error.code !== 'CHUNK_DAMAGED') throw error;
      throw damaged('chunk', `the base of ${describe(delta)}`, context, error);
    }
    const message = `the base ${hex(baseId)} of ${describe(delta)} is in no pack as a full frame`;
    throw new PortableError('CHUNK_MISSING', message, context);
  }

  /**
   * What `prove` makes of the first sound frame of an id; null when no frame was found that it takes. Throws what was
   * wrong with the first one when there are frames and none is sound.
   */
  async #firstSound(
    id: ContentId,
    kind: ContentKind,
    domain: number,
    prove: (frame: Frame) => Promise<ProvenBytes | null>,
  ): Promise<ProvenBytes | null> {
    const failures: unknown[] = [];
    for (const place of this.#table.lookup(id)) {
      try {
        const frame = await this.readFrame(place);
        if (frame.header.kind !== kind || frame.header.domain !== domain) continue;
        if (!sameBytes(frame.header.id, id)) {
          throw damaged(kind, `frame at ${place.offset}`, frame.context, new Error('its id is not the one listed'));
        }
        const plain = await prove(frame);
        if (plain !== null) return plain;
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
    return null;
  }
}

function describe(frame: Frame): string {
  return `${frame.header.kind} ${hex(frame.header.id)}`;
}

function damaged(kind: ContentKind, what: string, context: PortableErrorContext, cause: unknown): PortableError {
  return new PortableError(damagedCode[kind], `${what} is damaged: ${messageOf(cause)}`, context, cause);
}
