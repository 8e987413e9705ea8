/** XXH64 with seed 0, the checksum of everything the catalog writes. */

import xxhash from 'xxhash-wasm';

/** XXH64 with seed 0 over bytes. */
export type Checksum = (bytes: Uint8Array) => bigint;

/** Compiles the hash; a few milliseconds, once for each open store. */
export async function loadChecksum(): Promise<Checksum> {
  const hash = await xxhash();
  return (bytes) => hash.h64Raw(bytes);
}
