/**
 * Builds a store directory with chosen content, together with the model of what each disk must read as.
 *
 * The model is the plainest thing that can be right: one value per chunk place, kept beside the store.
 */

import { Buffer } from 'node:buffer';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  configBlock,
  deltaFrame,
  idHashes,
  manifestBytes,
  nodeBytes,
  packBytes,
  zstdFrame,
  type Entry,
  type FrameFields,
  type Hash,
  type Kind,
  type ManifestFields,
  type Root,
} from './format-writer.js';
import { lz4Block } from './lz4-block.js';

/** Codecs of frames that stand on no other: plain, zstd, LZ4. */
export type FullCodec = 0 | 1 | 2;

/** What stands in the place of one chunk. Places that are not named are holes. */
export type ChunkPlace =
  | { readonly kind: 'fill'; readonly value: number }
  | { readonly kind: 'data'; readonly plain: Uint8Array; readonly codec: FullCodec }
  | { readonly kind: 'delta'; readonly plain: Uint8Array; readonly base: Uint8Array };

/** A disk of a point; `places` maps chunk indexes to what stands there. */
export interface DiskModel {
  readonly role: string;
  readonly sizeBytes: number;
  readonly places: ReadonlyMap<number, ChunkPlace>;
}

/** What a disk reads as at [offset, offset + length). */
export function expectedBytes(disk: DiskModel, chunkBytes: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let chunk = Math.floor(offset / chunkBytes); chunk * chunkBytes < offset + length; chunk += 1) {
    const place = disk.places.get(chunk);
    if (place === undefined) continue;
    const whole = Buffer.alloc(chunkBytes);
    if (place.kind === 'fill') whole.fill(place.value);
    else whole.set(place.plain);
    const from = chunk * chunkBytes - offset;
    const skipped = Math.max(-from, 0);
    bytes.set(whole.subarray(skipped, Math.max(Math.min(chunkBytes, length - from), skipped)), Math.max(from, 0));
  }
  return bytes;
}

/** The 16 bytes of an id made from a number, so that a test's stores are the same each time. */
export function testId(prefix: number, number: number): Buffer {
  const id = Buffer.alloc(16, prefix);
  id.writeUInt32BE(number, 12);
  return id;
}

interface OpenPack {
  readonly kind: Kind;
  readonly frames: FrameFields[];
}

export interface WriterOptions {
  readonly chunkBytes?: number;
  /** Frames of a pack before the next one is begun. */
  readonly packFrames?: number;
}

export class StoreWriter {
  readonly path: string;
  readonly chunkBytes: number;
  readonly storeId: Buffer = testId(0xaa, 1);
  readonly identityKey: Buffer = Buffer.alloc(32, 0x5c);
  readonly #packFrames: number;
  readonly #hashes: Readonly<Record<Kind, Hash>>;
  readonly #packs: OpenPack[] = [];
  readonly #stored = new Set<string>();
  #points = 0;

  private constructor(path: string, options: WriterOptions, hashes: Readonly<Record<Kind, Hash>>) {
    this.path = path;
    this.chunkBytes = options.chunkBytes ?? 16_384;
    this.#packFrames = options.packFrames ?? 1000;
    this.#hashes = hashes;
  }

  /** A writer of a new store in a temporary directory. */
  static async create(options: WriterOptions = {}): Promise<StoreWriter> {
    const path = await mkdtemp(join(tmpdir(), 'portable-store-'));
    for (const folder of ['packs', 'manifests', 'index', 'quarantine']) {
      await mkdir(join(path, 'home', folder), { recursive: true });
    }
    const writer = new StoreWriter(path, options, await idHashes(Buffer.alloc(32, 0x5c)));
    const block = configBlock({
      storeId: writer.storeId,
      chunkBytes: writer.chunkBytes,
      domains: [{ number: 0, key: writer.identityKey }],
    });
    await writeFile(join(path, 'config'), Buffer.concat([block, block]));
    await writeFile(join(path, 'lock'), '');
    return writer;
  }

  idOf(kind: Kind, plain: Uint8Array): Buffer {
    return this.#hashes[kind](plain);
  }

  /** Adds a frame as it is, right or wrong. */
  addFrame(frame: FrameFields): void {
    let pack = this.#packs.findLast((each) => each.kind === frame.kind);
    if (pack === undefined || pack.frames.length >= this.#packFrames) pack = this.beginPack(frame.kind);
    pack.frames.push(frame);
  }

  /** Begins a new pack; the frames of this kind that follow go there. */
  beginPack(kind: Kind): OpenPack {
    const pack: OpenPack = { kind, frames: [] };
    this.#packs.push(pack);
    return pack;
  }

  /** Stores a chunk once; returns its id. */
  chunk(plain: Uint8Array, codec: FullCodec = 0): Buffer {
    const stored = { 0: () => plain, 1: () => zstdFrame(plain), 2: () => lz4Block(plain) }[codec]();
    return this.#once('chunk', plain, stored.length <= plain.length ? codec : 0, stored);
  }

  /** Stores a chunk as a delta, and its base full. `stored`: the frame of another encoder. */
  delta(plain: Uint8Array, base: Uint8Array, stored: Uint8Array = deltaFrame(plain, base)): Buffer {
    const baseId = this.chunk(base);
    if (stored.length > plain.length) return this.chunk(plain);
    return this.#once('chunk', plain, 3, stored, baseId);
  }

  node(plain: Uint8Array): Buffer {
    const stored = zstdFrame(plain);
    return stored.length < plain.length ? this.#once('node', plain, 1, stored) : this.#once('node', plain, 0, plain);
  }

  #once(kind: Kind, plain: Uint8Array, codec: number, stored: Uint8Array, base?: Uint8Array): Buffer {
    const id = this.idOf(kind, plain);
    const key = `${kind}${id.toString('hex')}`;
    // A full frame stands in for a delta, not the other way round: a base has to be full.
    if (this.#stored.has(`${key} full`) || (codec === 3 && this.#stored.has(key))) return id;
    this.#stored.add(codec === 3 ? key : `${key} full`);
    const bytes = codec === 0 ? plain : stored;
    const common = { kind, codec, id, plainBytes: plain.length, stored: bytes };
    this.addFrame(base === undefined ? common : { ...common, base });
    return id;
  }

  /** Stores the chunks and nodes of a disk; returns its root. */
  root(disk: DiskModel): Root {
    const chunkCount = Math.ceil(disk.sizeBytes / this.chunkBytes);
    let height = 0;
    while (64 ** height < chunkCount) height += 1;
    let entries = new Map<number, Entry>();
    for (const [index, place] of [...disk.places].sort(([left], [right]) => left - right)) {
      entries.set(index, this.#entry(place));
    }
    for (let level = 1; level <= height; level += 1) entries = this.#levelAbove(level, entries);
    return { entry: entries.get(0) ?? { tag: 'hole' }, height };
  }

  #entry(place: ChunkPlace): Entry {
    if (place.kind === 'fill') return { tag: 'fill', value: place.value };
    const id = place.kind === 'delta' ? this.delta(place.plain, place.base) : this.chunk(place.plain, place.codec);
    return { tag: 'id', id };
  }

  /** Groups the entries of a level by 64; places without an entry are holes. */
  #levelAbove(level: number, below: ReadonlyMap<number, Entry>): Map<number, Entry> {
    const above = new Map<number, Entry>();
    for (const parent of new Set([...below.keys()].map((index) => Math.floor(index / 64)))) {
      const children = Array.from(
        { length: 64 },
        (_, index): Entry => below.get(parent * 64 + index) ?? { tag: 'hole' },
      );
      while (children.at(-1)?.tag === 'hole') children.pop();
      const [first] = children;
      const isOneFill =
        first?.tag === 'fill' &&
        children.length === 64 &&
        children.every((child) => child.tag === 'fill' && child.value === first.value);
      if (first === undefined) continue;
      above.set(parent, isOneFill ? first : { tag: 'id', id: this.node(nodeBytes(level, children)) });
    }
    return above;
  }

  /** Writes a manifest; returns the point's id. `change` may alter its fields and its detail before. */
  async point(
    disks: readonly (DiskModel & { readonly root?: Root })[],
    change: (fields: ManifestFields, detail: Record<string, unknown>) => ManifestFields = (fields) => fields,
  ): Promise<string> {
    this.#points += 1;
    const pointId = testId(0xbb, this.#points);
    const table = disks.map((disk, index) => ({
      id: testId(0xcc, index + 1),
      sizeBytes: disk.sizeBytes,
      sectorBytes: 512,
      root: disk.root ?? this.root(disk),
    }));
    const createdMs = 1_700_000_000_000 + this.#points;
    const detail = {
      machine: { id: testId(0xdd, 1).toString('hex'), name: 'web1', subscription: 'sub', resourceGroup: 'default' },
      collection: { id: testId(0xee, 1).toString('hex'), name: 'default' },
      name: `rp${this.#points}`,
      sequence: this.#points,
      createdMs,
      consistency: { requested: null, reached: 'crashConsistent', writers: [] },
      configuration: { cores: 2 },
      disks: disks.map((disk, index) => ({
        id: testId(0xcc, index + 1).toString('hex'),
        role: disk.role,
        name: `web1-${disk.role}`,
        kind: 'external',
        sizeBytes: disk.sizeBytes,
        sectorBytes: 512,
        excluded: false,
        source: `/images/${disk.role}.raw`,
      })),
      captured: { startedMs: 1, endedMs: 2, bytesRead: 3, bytesNew: 4, bytesStored: 5 },
    };
    const common = { pointId, storeId: this.storeId, createdMs, chunkBytes: this.chunkBytes, disks: table };
    const changed = change({ ...common, detail: JSON.stringify(detail) }, detail);
    const file = join(this.path, 'home', 'manifests', `${pointId.toString('hex')}.manifest`);
    await writeFile(file, manifestBytes(changed));
    return pointId.toString('hex');
  }

  /** Writes the packs; returns their files, relative to the store. */
  async finish(): Promise<readonly string[]> {
    const files: string[] = [];
    for (const [index, { kind, frames }] of this.#packs.entries()) {
      const packId = testId(0x11, index + 1);
      const file = `home/packs/${packId.toString('hex')}.${kind}s`;
      const bytes = packBytes({ kind, packId, storeId: this.storeId, chunkBytes: this.chunkBytes, frames });
      await writeFile(join(this.path, file), bytes);
      files.push(file);
    }
    return files;
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}
