/**
 * An independent writer of the format's structures, from docs/format.md alone: bytes in, bytes out.
 *
 * It shares nothing with `src/portable`, so that a misreading there is not repeated here. What a test wants wrong it
 * makes wrong in the values that it passes, or in the bytes afterwards.
 */

import { Buffer } from 'node:buffer';

import { compress, compressUsingDict, createCCtx, init } from '@bokuweb/zstd-wasm';
import { createBLAKE3 } from 'hash-wasm';
import xxhash from 'xxhash-wasm';

/** A second start would break the instance that the reader may have started. */
async function startContext(): Promise<number> {
  try {
    return createCCtx();
  } catch {
    await init();
    return createCCtx();
  }
}

const { h64Raw } = await xxhash();
const prefixContext = await startContext();

export type Kind = 'chunk' | 'node';

export const kindNumbers: Readonly<Record<Kind, number>> = { chunk: 1, node: 2 };

/** A structure under construction: fields are set at their offsets, the rest is zero. */
export class Fields {
  readonly bytes: Buffer;

  constructor(length: number) {
    this.bytes = Buffer.alloc(length);
  }

  text(at: number, text: string): this {
    this.bytes.write(text, at, 'latin1');
    return this;
  }

  u8(at: number, value: number): this {
    this.bytes.writeUInt8(value, at);
    return this;
  }

  u16(at: number, value: number): this {
    this.bytes.writeUInt16LE(value, at);
    return this;
  }

  u32(at: number, value: number): this {
    this.bytes.writeUInt32LE(value, at);
    return this;
  }

  u64(at: number, value: number | bigint): this {
    this.bytes.writeBigUInt64LE(BigInt(value), at);
    return this;
  }

  put(at: number, bytes: Uint8Array): this {
    this.bytes.set(bytes, at);
    return this;
  }

  /** XXH64 of everything before `at`. */
  seal(at: number): this {
    return this.u64(at, xxh64(this.bytes.subarray(0, at)));
  }
}

export function xxh64(bytes: Uint8Array): bigint {
  return h64Raw(bytes, 0n);
}

export type Hash = (plain: Uint8Array) => Buffer;

export async function keyedBlake3(key: Uint8Array): Promise<Hash> {
  const hasher = await createBLAKE3(256, key);
  return (plain) => Buffer.from(hasher.init().update(plain).digest('binary'));
}

/** The hashes that make chunk ids and node ids of a domain. */
export async function idHashes(identityKey: Uint8Array): Promise<Readonly<Record<Kind, Hash>>> {
  const derive = await keyedBlake3(identityKey);
  return {
    chunk: await keyedBlake3(derive(Buffer.from('stillpoint chunk id v1', 'ascii'))),
    node: await keyedBlake3(derive(Buffer.from('stillpoint node id v1', 'ascii'))),
  };
}

export interface ConfigFields {
  readonly version?: number;
  readonly storeId: Uint8Array;
  readonly chunkBytes: number;
  /** Codec of new chunks and its level; zstd at 2 when left out. */
  readonly codec?: readonly [number, number];
  readonly domains: readonly { readonly number: number; readonly form?: number; readonly key: Uint8Array }[];
}

/** One of the two blocks of `config`. */
export function configBlock(config: ConfigFields): Buffer {
  const block = new Fields(4096)
    .text(0, 'STILLCFG')
    .u16(8, config.version ?? 1)
    .u32(12, 4096)
    .put(16, config.storeId)
    .u64(32, 1_700_000_000_000)
    .u32(40, config.chunkBytes)
    .u8(44, config.codec?.[0] ?? 1)
    .u8(45, config.codec?.[1] ?? 2)
    .u16(46, config.domains.length);
  for (const [index, domain] of config.domains.entries()) {
    const at = 64 + 64 * index;
    block
      .u32(at, domain.number)
      .u8(at + 4, domain.form ?? 1)
      .put(at + 16, domain.key);
  }
  return block.seal(4088).bytes;
}

export interface FrameFields {
  readonly kind: Kind;
  readonly codec: number;
  readonly id: Uint8Array;
  readonly plainBytes: number;
  readonly stored: Uint8Array;
  readonly base?: Uint8Array;
  readonly keyId?: number;
  readonly domain?: number;
}

export function frameBytes(frame: FrameFields): Buffer {
  const header = new Fields(72)
    .text(0, 'SPFR')
    .u8(4, frame.codec)
    .u8(5, kindNumbers[frame.kind])
    .put(8, frame.id)
    .u32(40, frame.plainBytes)
    .u32(44, frame.stored.length)
    .u32(48, frame.keyId ?? 0)
    .u32(52, frame.domain ?? 0)
    .u64(56, xxh64(frame.stored));
  const base = frame.base ?? new Uint8Array(0);
  header.u64(64, xxh64(Buffer.concat([header.bytes.subarray(0, 64), base])));
  return Buffer.concat([header.bytes, base, frame.stored]);
}

export interface PackFields {
  readonly version?: number;
  readonly kind: Kind;
  readonly packId: Uint8Array;
  readonly storeId: Uint8Array;
  readonly chunkBytes: number;
  readonly keyId?: number;
  readonly domain?: number;
  readonly frames: readonly FrameFields[];
}

export function packBytes(pack: PackFields): Buffer {
  const header = new Fields(64)
    .text(0, 'STILLPAK')
    .u16(8, pack.version ?? 1)
    .u8(10, kindNumbers[pack.kind])
    .u32(12, pack.chunkBytes)
    .put(16, pack.packId)
    .put(32, pack.storeId)
    .u32(48, pack.keyId ?? 0)
    .u32(52, pack.domain ?? 0)
    .seal(56).bytes;
  const frames = pack.frames.map(frameBytes);
  let at = 64;
  const entries = pack.frames.map((frame, index) => {
    const entry = new Fields(48)
      .put(0, frame.id)
      .u32(32, at)
      .u32(36, frame.stored.length)
      .u32(40, frame.plainBytes)
      .u8(44, frame.codec).bytes;
    at += frames[index]?.length ?? 0;
    return entry;
  });
  const bases = pack.frames.flatMap((frame) => (frame.base === undefined ? [] : [frame.base]));
  const trailer = Buffer.concat([...entries, ...bases]);
  const footer = new Fields(48)
    .text(0, 'STILLEND')
    .u32(8, entries.length)
    .u32(12, bases.length)
    .u64(16, at)
    .u64(24, at + trailer.length + 48)
    .u64(32, xxh64(trailer))
    .seal(40).bytes;
  return Buffer.concat([header, ...frames, trailer, footer]);
}

/** What stands in a place of the tree. */
export type Entry =
  | { readonly tag: 'hole' }
  | { readonly tag: 'fill'; readonly value: number }
  | { readonly tag: 'id'; readonly id: Uint8Array };

/** A node with exactly these entries, canonical or not. */
export function nodeBytes(level: number, entries: readonly Entry[]): Buffer {
  const tags = entries.map((entry) => ({ hole: 0, fill: 1, id: 2 })[entry.tag]);
  const fills = entries.flatMap((entry) => (entry.tag === 'fill' ? [entry.value] : []));
  const ids = entries.flatMap((entry) => (entry.tag === 'id' ? [entry.id] : []));
  const head = Buffer.from([0x4e, level, entries.length, fills.length, ids.length, 0, 0, 0]);
  return Buffer.concat([head, Buffer.from(tags), Buffer.from(fills), ...ids]);
}

export interface Root {
  readonly entry: Entry;
  readonly height: number;
}

export function rootBytes(root: Root): Buffer {
  const bytes = new Fields(40).u8(0, { hole: 0, fill: 1, id: 2 }[root.entry.tag]).u8(1, root.height);
  if (root.entry.tag === 'fill') bytes.u8(2, root.entry.value);
  if (root.entry.tag === 'id') bytes.put(8, root.entry.id);
  return bytes.bytes;
}

export interface ManifestFields {
  readonly version?: number;
  readonly pointId: Uint8Array;
  readonly storeId: Uint8Array;
  readonly createdMs: number;
  readonly chunkBytes: number;
  readonly disks: readonly {
    readonly id: Uint8Array;
    readonly sizeBytes: number;
    readonly sectorBytes: number;
    readonly domain?: number;
    readonly root: Root;
  }[];
  readonly detail: string;
}

export function manifestBytes(manifest: ManifestFields): Buffer {
  const detail = Buffer.from(manifest.detail, 'utf8');
  const detailAt = 64 + 96 * manifest.disks.length;
  const fields = new Fields(detailAt + detail.length + 8)
    .text(0, 'STILLMAN')
    .u16(8, manifest.version ?? 1)
    .u16(10, manifest.disks.length)
    .u32(12, detail.length)
    .put(16, manifest.pointId)
    .put(32, manifest.storeId)
    .u64(48, manifest.createdMs)
    .u32(56, manifest.chunkBytes);
  for (const [index, disk] of manifest.disks.entries()) {
    const at = 64 + 96 * index;
    fields
      .put(at, disk.id)
      .u64(at + 16, disk.sizeBytes)
      .u32(at + 24, disk.sectorBytes)
      .u32(at + 28, disk.domain ?? 0)
      .put(at + 32, rootBytes(disk.root));
  }
  return fields.put(detailAt, detail).seal(detailAt + detail.length).bytes;
}

export function zstdFrame(plain: Uint8Array): Uint8Array {
  return compress(plain, 3);
}

/**
 * A zstd frame with `base` as raw prefix. The encoder at hand can do so only for bases that do not begin like a trained
 * dictionary; for those and for frames of another encoder there are fixtures.
 */
export function deltaFrame(plain: Uint8Array, base: Uint8Array): Uint8Array {
  if (Buffer.from(base.subarray(0, 4)).equals(Buffer.from([0x37, 0xa4, 0x30, 0xec]))) {
    throw new Error('this base needs a fixture');
  }
  return compressUsingDict(prefixContext, plain, base, 3);
}
