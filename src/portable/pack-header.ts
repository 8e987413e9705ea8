/** Names and headers of packs (format.md sections 1 and 4.1). */

import { objectIdAt, objectIdFrom, type ObjectId } from './brands.js';
import { hasText, isZero, u16, u32, u64, u8 } from './bytes.js';
import { formatVersion, type StoreConfig } from './config.js';
import { PortableError } from './errors.js';
import type { Checksum } from './hashes.js';

/** Length of a pack's header; the first frame begins there. */
export const packHeaderBytes = 64;

/** No pack is longer. */
export const packBytesMax: number = 128 * 1024 * 1024;

/** What a pack holds. */
export type ContentKind = 'chunk' | 'node';

/** The kind as frames and packs write it. */
export function kindNumber(kind: ContentKind): number {
  return kind === 'chunk' ? 1 : 2;
}

/** What a pack's file name says. */
export interface PackName {
  readonly packId: ObjectId;
  readonly kind: ContentKind;
}

/** A file name as a pack's, or null when it is none. */
export function parsePackName(name: string): PackName | null {
  const packId = objectIdFrom(name.slice(0, 32));
  if (packId === null) return null;
  switch (name.slice(32)) {
    case '.chunks':
      return { packId, kind: 'chunk' };
    case '.nodes':
      return { packId, kind: 'node' };
    default:
      return null;
  }
}

/**
 * What a pack's header says beyond its name.
 *
 * - `sound`: frames must be of this key domain.
 * - `damaged`: the checksum does not hold. Kind and id stand in the name and in each frame, so the frames can be read
 *   all the same; their domain is whatever each of them says.
 */
export type PackHeader =
  { readonly state: 'sound'; readonly domain: number } | { readonly state: 'damaged'; readonly defect: string };

/**
 * Reads the first bytes of a pack.
 *
 * Throws when the checksum holds and the pack still cannot be this store's: `STORE_NEWER_FORMAT`, `STORE_DAMAGED`.
 */
export function parsePackHeader(
  bytes: Uint8Array,
  name: PackName,
  config: StoreConfig,
  checksum: Checksum,
): PackHeader {
  if (bytes.length < packHeaderBytes) return { state: 'damaged', defect: `only ${bytes.length} bytes of it are there` };
  if (!hasText(bytes, 0, 'STILLPAK')) return { state: 'damaged', defect: 'its magic is wrong' };
  if (checksum(bytes.subarray(0, 56)) !== u64(bytes, 56)) {
    return { state: 'damaged', defect: 'its checksum does not hold' };
  }
  const version = u16(bytes, 8);
  if (version > formatVersion) {
    throw new PortableError('STORE_NEWER_FORMAT', `the pack has format version ${version}`, { version });
  }
  const keyId = u32(bytes, 48);
  if (keyId !== 0) throw new PortableError('STORE_NEWER_FORMAT', `the pack is encrypted with key ${keyId}`, { keyId });
  const domain = u32(bytes, 52);
  const defect = headerDefect(bytes, name, config, version, domain);
  if (defect !== null) throw new PortableError('STORE_DAMAGED', `the pack's header says ${defect}`);
  return { state: 'sound', domain };
}

function headerDefect(
  bytes: Uint8Array,
  name: PackName,
  config: StoreConfig,
  version: number,
  domain: number,
): string | null {
  if (version !== formatVersion) return `version ${version}, which never existed`;
  if (u8(bytes, 10) !== kindNumber(name.kind)) return `kind ${u8(bytes, 10)}, its name ${kindNumber(name.kind)}`;
  if (!isZero(bytes, 11, 12)) return 'something in a byte that must be zero';
  if (u32(bytes, 12) !== config.chunkBytes) return `chunk size ${u32(bytes, 12)}, the store has ${config.chunkBytes}`;
  const packId = objectIdAt(bytes, 16);
  if (packId !== name.packId) return `pack id ${packId}, its name ${name.packId}`;
  const storeId = objectIdAt(bytes, 32);
  if (storeId !== config.storeId) return `store id ${storeId}, the store has ${config.storeId}`;
  if (!config.domains.some((known) => known.domain === domain))
    return `key domain ${domain}, which config does not have`;
  return null;
}
