/**
 * The dump: one checksummed file with the records that no manifest can give back. docs/catalog-format.md, section 5.
 *
 * It is read only when the catalog is rebuilt, when a store is opened read-only, and at every open to see that it is
 * still what the catalog would write.
 */

import { StillpointError } from '../store/errors.js';
import type { StoreId } from '../store/units.js';
import type { Checksum } from './checksum.js';
import { DamagedError } from './damaged-error.js';
import type { CatalogFiles } from './files.js';
import { isDumped, keyOf, type CatalogRecord } from './record.js';
import { payloadText, recordFrom } from './record-codec.js';
import { catalogVersion } from './seal.js';

/** Name of the dump in the store's directory. */
export const dumpName = 'catalog.dump';

const magic = 'STILLDMP';
const headerBytes = 48;
const checksumBytes = 8;

/** What the file of the dump turned out to be. */
export type DumpFound =
  | { readonly records: readonly CatalogRecord[] }
  | { readonly problem: 'missing' }
  | { readonly problem: 'not valid'; readonly reason: string };

/** The payload for a set of records: those that belong into the dump, by key. */
export function dumpText(records: Iterable<CatalogRecord>): string {
  const entries = [...records]
    .filter(isDumped)
    .map((record) => ({ key: keyOf(record), payload: payloadText(record) }))
    .sort((left, right) => (left.key < right.key ? -1 : 1));
  return `[${entries.map(({ key, payload }) => `["${key}",${payload}]`).join(',')}]`;
}

/** A dump as bytes. */
export function encodeDump(checksum: Checksum, storeId: StoreId, text: string): Uint8Array {
  const payload = Buffer.from(text, 'utf8');
  const bytes = Buffer.alloc(headerBytes + payload.length + checksumBytes);
  bytes.write(magic, 0, 'ascii');
  bytes.writeUInt16LE(catalogVersion, 8);
  bytes.write(storeId, 16, 'hex');
  bytes.writeBigUInt64LE(BigInt(payload.length), 32);
  payload.copy(bytes, headerBytes);
  const end = headerBytes + payload.length;
  bytes.writeBigUInt64LE(checksum(bytes.subarray(0, end)), end);
  return bytes;
}

/** The records in a dump's bytes. Errors: `DamagedError`, `STORE_NEWER_FORMAT`. */
export function decodeDump(checksum: Checksum, storeId: StoreId, found: Uint8Array): CatalogRecord[] {
  const bytes = Buffer.from(found.buffer, found.byteOffset, found.length);
  if (bytes.length < headerBytes + checksumBytes) throw new DamagedError('the dump is too short');
  const end = bytes.length - checksumBytes;
  if (bytes.readBigUInt64LE(end) !== checksum(bytes.subarray(0, end)))
    throw new DamagedError('the checksum of the dump does not hold');
  if (bytes.toString('latin1', 0, 8) !== magic) throw new DamagedError('the dump does not begin as one');
  const version = bytes.readUInt16LE(8);
  if (version > catalogVersion) {
    throw new StillpointError('STORE_NEWER_FORMAT', `the dump was written by a newer version (${version})`, {
      found: version,
      expected: catalogVersion,
    });
  }
  if (version !== catalogVersion) throw new DamagedError(`the dump has the version ${version}`);
  const isZero = (from: number, to: number): boolean => bytes.subarray(from, to).every((byte) => byte === 0);
  if (!isZero(10, 16) || !isZero(40, 48)) throw new DamagedError('bytes of the dump are not zero');
  if (bytes.toString('hex', 16, 32) !== storeId) throw new DamagedError('the dump belongs to another store');
  if (bytes.readBigUInt64LE(32) !== BigInt(end - headerBytes))
    throw new DamagedError('the length of the dump is wrong');
  const entries: unknown = JSON.parse(bytes.toString('utf8', headerBytes, end));
  if (!Array.isArray(entries)) throw new DamagedError('the dump is no array');
  return entries.map((entry: unknown) => {
    const pair: readonly unknown[] = Array.isArray(entry) ? entry : [];
    const [key, payload] = pair;
    if (typeof key !== 'string') throw new DamagedError('an entry of the dump has no key');
    const { record } = recordFrom(key, payload);
    if (!isDumped(record)) throw new DamagedError(`the dump holds ${key}, which it must not`);
    return record;
  });
}

/** Reads the dump of a store. */
export async function readDump(files: CatalogFiles, checksum: Checksum, storeId: StoreId): Promise<DumpFound> {
  const bytes = await files.read(dumpName);
  if (bytes === null) return { problem: 'missing' };
  try {
    return { records: decodeDump(checksum, storeId, bytes) };
  } catch (error) {
    if (!(error instanceof DamagedError || error instanceof SyntaxError)) throw error;
    return { problem: 'not valid', reason: error.message };
  }
}
