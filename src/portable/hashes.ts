/**
 * The two hashes of the format: XXH64 over stored bytes (finds flipped bits) and keyed BLAKE3 over plain bytes
 * (names and proves content). format.md, conventions and section 3.
 */

import { createBLAKE3 } from 'hash-wasm';
import xxhash from 'xxhash-wasm';

import { contentIdAt, type ContentId } from './brands.js';

/** XXH64 with seed 0. */
export type Checksum = (bytes: Uint8Array) => bigint;

/** Recomputes the id of plain bytes. */
export type IdentityHash = (plain: Uint8Array) => ContentId;

/** The two identity hashes of one key domain. */
export interface DomainHashes {
  readonly chunk: IdentityHash;
  readonly node: IdentityHash;
}

export async function loadChecksum(): Promise<Checksum> {
  const api = await xxhash();
  return (bytes) => api.h64Raw(bytes);
}

async function keyedHash(key: Uint8Array): Promise<IdentityHash> {
  const hasher = await createBLAKE3(256, key);
  // One hasher serves all calls: init, update and digest run without a pause between them.
  return (plain) => contentIdAt(hasher.init().update(plain).digest('binary'), 0);
}

/** Derives chunk key and node key from the identity key of a domain (format.md section 3). */
export async function domainHashes(identityKey: Uint8Array): Promise<DomainHashes> {
  const derive = await keyedHash(identityKey);
  const text = new TextEncoder();
  return {
    chunk: await keyedHash(derive(text.encode('stillpoint chunk id v1'))),
    node: await keyedHash(derive(text.encode('stillpoint node id v1'))),
  };
}
