/**
 * The database under the catalog: a durable log of batches that can be read whole.
 *
 * Nothing else of LevelDB is used. What an open or a read fails with is sorted here: damage becomes a `DamagedError`,
 * trouble of the machine a `StillpointError`, because damage is answered with a rebuild and trouble must not be.
 */

import { rm } from 'node:fs/promises';

import type { Level } from 'level';

import { StillpointError, type ErrorCode } from '../store/errors.js';
import { DamagedError } from './damaged-error.js';
import { damagedTables, removeDamagedTables, tablesInForce, type ProvenTables } from './level-tables.js';
import { systemError } from './system-error.js';

/** One operation of a batch. */
export type LogOperation =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: string };

/** An open database. */
export interface RecordLog {
  /** Every key and value. Errors: `DamagedError`. */
  readAll(): Promise<readonly (readonly [key: string, value: Uint8Array])[]>;
  /** Writes a batch, all or nothing; durable when it resolves. */
  write(batch: readonly LogOperation[]): Promise<void>;
  close(): Promise<void>;
}

/** Where a database is. */
export interface RecordLogPlace {
  /** Begins to load what `open` needs, for a caller that has something else to wait for first. */
  prepare?(): void;
  /** Opens the database, an empty one where there is none. Errors: `DamagedError`. */
  open(): Promise<RecordLog>;
  /** Removes the database with everything in it. */
  remove(): Promise<void>;
}

/** What of `abstract-level` a record log needs; `Level` and `MemoryLevel` have it. */
export interface ByteDatabase {
  open(): Promise<void>;
  close(): Promise<void>;
  batch(
    operations: (
      | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
      | { readonly type: 'del'; readonly key: string }
    )[],
    options: { readonly sync: true },
  ): Promise<void>;
  iterator(): AsyncIterable<[string, Uint8Array]>;
}

/** Words of LevelDB's messages that tell trouble of the machine, which a rebuild would not mend. */
const trouble: readonly (readonly [words: string, code: ErrorCode])[] = [
  ['No space left', 'NO_SPACE'],
  ['quota exceeded', 'NO_SPACE'],
  ['Permission denied', 'PERMISSION_DENIED'],
  ['Operation not permitted', 'PERMISSION_DENIED'],
  ['Read-only file system', 'PERMISSION_DENIED'],
  ['Too many open files', 'IO_FAILED'],
  ['Cannot allocate memory', 'IO_FAILED'],
  ['Input/output error', 'IO_FAILED'],
];

/** The innermost error: abstract-level wraps what the database said. */
function innermost(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? innermost(error.cause) : error;
}

/** An error of the database, sorted. */
function sorted(error: unknown, what: string): StillpointError | DamagedError {
  const inner = innermost(error);
  const message = inner instanceof Error ? inner.message : String(inner);
  if (inner instanceof Error && 'code' in inner && inner.code === 'LEVEL_LOCKED') {
    return new StillpointError('STORE_LOCKED', `the catalog is open elsewhere: ${message}`, {}, error);
  }
  const match = trouble.find(([words]) => message.includes(words));
  if (match !== undefined) return new StillpointError(match[1], `the catalog ${what}: ${message}`, {}, error);
  return new DamagedError(`the catalog ${what}: ${message}`, error);
}

/** Without compression: the tables are proven by `level-tables.ts`, which reads plain blocks. */
const levelOptions = { keyEncoding: 'utf8', valueEncoding: 'view', compression: false } as const;

/** A record log over a database that is not open yet. It reads through an iterator, which LevelDB in a directory does without. */
export async function openRecordLog(database: ByteDatabase): Promise<RecordLog> {
  try {
    await database.open();
  } catch (error) {
    throw sorted(error, 'cannot be opened');
  }
  return {
    readAll: async () => {
      const all: [string, Uint8Array][] = [];
      try {
        for await (const entry of database.iterator()) all.push(entry);
      } catch (error) {
        throw sorted(error, 'cannot be read');
      }
      return all;
    },
    write: async (batch) => {
      try {
        await database.batch([...batch], { sync: true });
      } catch (error) {
        const reason = sorted(error, 'cannot be written');
        throw reason instanceof StillpointError ? reason : new StillpointError('IO_FAILED', reason.message, {}, error);
      }
    },
    close: () => database.close(),
  };
}

/** Proves the tables that an open database reads: reading a damaged one may end the process (`level-tables.ts`). */
async function proveTables(directory: string, level: object, proven: ProvenTables): Promise<void> {
  const damaged = await damagedTables(directory, proven);
  if (damaged.length === 0) return;
  const getProperty: unknown = Reflect.get(level, 'getProperty');
  if (typeof getProperty !== 'function') throw new TypeError('the database does not tell its tables');
  const property: unknown = Reflect.apply(getProperty, level, ['leveldb.sstables']);
  const inForce = tablesInForce(String(property));
  const needed = damaged.filter((name) => inForce.has(name));
  if (needed.length > 0) throw new DamagedError(`the tables ${needed.join(', ')} fail their checksums`);
}

/** LevelDB, loaded when a database is first opened: 17 files and an addon, which a read-only look does without. */
async function loadLevel(): Promise<typeof Level> {
  return (await import('level')).Level;
}

/** How many values are asked for at once. */
const valuesAtOnce = 1000;

/** The keys that are in the database, with their values. */
async function readKeys(
  level: Level<string, Uint8Array>,
  keys: readonly string[],
): Promise<(readonly [key: string, value: Uint8Array])[]> {
  const found: (readonly [string, Uint8Array])[] = [];
  try {
    for (let at = 0; at < keys.length; at += valuesAtOnce) {
      const asked = keys.slice(at, at + valuesAtOnce);
      const values = await level.getMany(asked);
      for (const [index, key] of asked.entries()) {
        const value = values[index];
        if (value !== undefined) found.push([key, value]);
      }
    }
  } catch (error) {
    throw sorted(error, 'cannot be read');
  }
  return found;
}

/** A LevelDB database in a directory. */
export function levelPlace(directory: string): RecordLogPlace {
  return {
    prepare: () => {
      // A failure is met again by `open`, which reports it.
      loadLevel().catch(() => undefined);
    },
    open: async () => {
      const Level = await loadLevel();
      // What was proven a moment ago is not read again by the first `readAll`; later ones look for rot and read all.
      let proven: ProvenTables = new Map();
      // Its log is in tables once it is open; what is written from then on may not be.
      const written = new Set<string>();
      const removed = await removeDamagedTables(directory, proven);
      const level = new Level<string, Uint8Array>(directory, levelOptions);
      try {
        const log = await openRecordLog(level);
        const readAll: RecordLog['readAll'] = async () => {
          await proveTables(directory, level, proven);
          const keys = new Set([...proven.values(), [...written]].flat());
          proven = new Map();
          return readKeys(level, [...keys].sort());
        };
        const write: RecordLog['write'] = async (batch) => {
          for (const { type, key } of batch) if (type === 'put') written.add(key);
          await log.write(batch);
          for (const { type, key } of batch) if (type === 'del') written.delete(key);
        };
        return { ...log, readAll, write };
      } catch (error) {
        if (!(error instanceof DamagedError) || removed.length === 0) throw error;
        throw new DamagedError(`the tables ${removed.join(', ')} fail their checksums; ${error.message}`, error);
      }
    },
    remove: async () => {
      try {
        await rm(directory, { recursive: true, force: true });
      } catch (cause) {
        throw systemError(cause, directory);
      }
    },
  };
}
