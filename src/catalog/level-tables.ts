/**
 * Proves LevelDB's table files before LevelDB reads them, and tells which keys are in them.
 *
 * LevelDB checks the checksums of its logs, but of its tables only on request, and `classic-level` does not request
 * it: a flipped bit in a table's index or entry then ends the process with a failed assertion or an allocation beyond
 * all bounds, before anybody can look at what was read. So every table is read here first, and one that is not whole
 * is removed. When LevelDB needs it, it says that a file is missing, and the catalog is damaged; when it does not, the
 * table was what a crash left of an unfinished compaction, and nothing is lost.
 *
 * A table (LevelDB's doc/table_format): blocks, each followed by a type byte and a masked CRC-32C over block and type;
 * among them an index of the data blocks and an index of the others; a footer of 48 bytes that tells where the two are.
 * The catalog writes without compression, so any other block type is damage. An entry of a block: how much of the key
 * before it has too, how much it adds, how long its value is, what it adds, the value. Behind a key stand eight bytes, its number
 * and whether it was put or deleted.
 *
 * The keys are asked for one by one and not read through an iterator: a worker thread that is terminated in the moment in which
 * `classic-level` makes one leaves it behind, and closing the database then ends the process with a failed assertion.
 */

import { open, readdir, rm } from 'node:fs/promises';
import path from 'node:path';

import { systemError } from './system-error.js';

const footerBytes = 48;
const trailerBytes = 5;
const keySuffixBytes = 8;
const magic = 0xdb4775248b80fb57n;
const uncompressed = 0;

/** A table's path, inode, length and time of change: another file under the same name is another table. */
export type TableIdentity = string;

/** Tables that are whole, with the keys that are in each. */
export type ProvenTables = Map<TableIdentity, readonly string[]>;

/** Where a block is in its file. */
interface Place {
  readonly offset: number;
  readonly length: number;
}

/**
 * The tables in a database's directory that are not whole. One that is being written is among them.
 *
 * Those in `proven` are not read; those that are read and whole are added to it. Afterwards it has every key that any table had
 * when this began.
 */
export async function damagedTables(
  directory: string,
  proven: ProvenTables = new Map<TableIdentity, readonly string[]>(),
): Promise<readonly string[]> {
  const missing = new Set<string>();
  for (;;) {
    const damaged: string[] = [];
    const missedBefore = missing.size;
    for (const name of await tableNames(directory)) {
      const table = await readTable(path.join(directory, name), proven);
      if (table === null) missing.add(name);
      else if (table.keys === null) damaged.push(name);
      else proven.set(table.identity, table.keys);
    }
    // A compaction has removed those; what they had is in younger ones, which may not have been among the names.
    if (missing.size === missedBefore) return damaged;
  }
}

/** Removes the tables in the directory of a database that is not open that are not whole, and gives their names. */
export async function removeDamagedTables(
  directory: string,
  proven: ProvenTables = new Map<TableIdentity, readonly string[]>(),
): Promise<readonly string[]> {
  const damaged = await damagedTables(directory, proven);
  for (const name of damaged) {
    const file = path.join(directory, name);
    await rm(file).catch((cause: unknown) => {
      throw systemError(cause, file);
    });
  }
  return damaged;
}

/** The names of the tables in LevelDB's property `leveldb.sstables`: lines of ` number:bytes[range]`. */
export function tablesInForce(property: string): ReadonlySet<string> {
  return new Set([...property.matchAll(/^ (\d+):\d+\[/gm)].map(([, number = '']) => `${number.padStart(6, '0')}.ldb`));
}

/** A table's keys, null where it is not whole; null when it is not there. Those of a proven one are not read again. */
async function readTable(
  file: string,
  proven: ProvenTables,
): Promise<{ readonly identity: TableIdentity; readonly keys: readonly string[] | null } | null> {
  try {
    const handle = await open(file, 'r');
    try {
      const { ino, size, mtimeNs } = await handle.stat({ bigint: true });
      const identity = `${file} ${ino} ${size} ${mtimeNs}`;
      return { identity, keys: proven.get(identity) ?? keysIn(await handle.readFile()) };
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    throw systemError(cause, file);
  }
}

async function tableNames(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((name) => name.endsWith('.ldb') || name.endsWith('.sst'));
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw systemError(cause, directory);
  }
}

/** The keys in a table; null unless every block that can be reached holds its checksum. */
export function keysIn(table: Buffer): readonly string[] | null {
  if (table.length < footerBytes) return null;
  const footer = table.subarray(table.length - footerBytes);
  if (footer.readBigUInt64LE(footerBytes - 8) !== magic) return null;
  const reader = new FieldReader(footer.subarray(0, footerBytes - 8));
  const [others, data] = [reader.place(), reader.place()];
  const blocks = [others, data].map((indexPlace) => {
    const index = indexPlace === null ? null : provenBlock(table, indexPlace);
    const entries = index === null ? null : entriesOf(index);
    return entries?.map(({ value }) => {
      const place = new FieldReader(value).place();
      return place === null ? null : provenBlock(table, place);
    });
  });
  if (blocks.some((each) => each?.every((block) => block !== null) !== true)) return null;
  const entries = (blocks[1] ?? []).map((block) => (block === null ? null : entriesOf(block)));
  if (entries.includes(null)) return null;
  return entries.flatMap((each) => each ?? []).map(({ key }) => key.toString('utf8', 0, key.length - keySuffixBytes));
}

/** A block's bytes when its checksum holds. */
function provenBlock(table: Buffer, { offset, length }: Place): Buffer | null {
  const end = offset + length;
  if (end + trailerBytes > table.length - footerBytes || table[end] !== uncompressed) return null;
  const stored = table.readUInt32LE(end + 1);
  return stored === masked(crc32c(table.subarray(offset, end + 1))) ? table.subarray(offset, end) : null;
}

interface Entry {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** The entries of a block; null when it is none. */
function entriesOf(block: Buffer): Entry[] | null {
  if (block.length < 4) return null;
  const end = block.length - 4 - 4 * block.readUInt32LE(block.length - 4);
  if (end < 0) return null;
  const entries: Entry[] = [];
  const reader = new FieldReader(block.subarray(0, end));
  let key = Buffer.alloc(0);
  while (!reader.isAtEnd) {
    const [shared, added, valueLength] = [reader.number(), reader.number(), reader.number()];
    if (shared === null || added === null || valueLength === null || shared > key.length) return null;
    key = Buffer.concat([key.subarray(0, shared), reader.take(added)]);
    entries.push({ key, value: reader.take(valueLength) });
  }
  return entries;
}

/** Reads LevelDB's variable-length numbers; null past the end or beyond what a number holds. */
class FieldReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  number(): number | null {
    let value = 0;
    for (let factor = 1; factor < Number.MAX_SAFE_INTEGER; factor *= 128) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) return null;
      this.#at += 1;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return Number.isSafeInteger(value) ? value : null;
    }
    return null;
  }

  place(): Place | null {
    const [offset, length] = [this.number(), this.number()];
    return offset === null || length === null ? null : { offset, length };
  }

  take(count: number): Buffer {
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}

/** CRC-32C, reflected polynomial 0x82f63b78, one byte at a time. */
const crcTable: Uint32Array = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0x82f63b78;
  return crc;
});

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  // eslint-disable-next-line @typescript-eslint/prefer-for-of -- most of it runs uncompiled, where an iterator costs twice
  for (let at = 0; at < bytes.length; at += 1) crc = (crc >>> 8) ^ (crcTable[(crc ^ (bytes[at] ?? 0)) & 0xff] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
}

/** LevelDB stores checksums rotated and shifted, so that a checksum over checksums stays one. */
function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
