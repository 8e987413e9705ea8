/**
 * Opens the catalog, or says why it cannot be trusted; makes it anew from records. docs/catalog-format.md, section 6.
 *
 * Opening removes nothing but unfinished files and what no reader could use. A rebuild does, and is called with records that were already read from elsewhere.
 */

import type { WithReserve } from '../native/engine.js';
import type { StoreId } from '../store/units.js';
import { DurableCatalog, type Catalog, type CatalogProblem } from './catalog.js';
import { loadChecksum, type Checksum } from './checksum.js';
import { DamagedError } from './damaged-error.js';
import { readDatabase, type DatabaseContent } from './database.js';
import { dumpName, dumpText, encodeDump, readDump, type DumpFound } from './dump.js';
import { removeUnfinished, ReplaceError, replaceDurably, type CatalogFiles } from './files.js';
import type { CatalogRecord, RecordKey } from './record.js';
import { encodeMeta, encodeRecord, metaKey } from './record-codec.js';
import type { RecordLog, RecordLogPlace } from './record-log.js';
import { counted, isSameContent, type Seal } from './seal.js';
import { readSlots, slotNames, slotProblems, Slots, type SlotsFound } from './slots.js';
import { CatalogTable } from './view.js';

/** Where a catalog is kept. */
export interface CatalogStorage {
  readonly files: CatalogFiles;
  readonly log: RecordLogPlace;
}

/** A catalog that was found sound, with what was put right about its files. */
export interface SoundCatalog {
  readonly kind: 'sound';
  readonly catalog: Catalog;
  readonly problems: readonly CatalogProblem[];
}

/** A catalog that has to be made from the manifests and the dump. */
export interface LostCatalog {
  readonly kind: 'lost';
  /** Whether there never was one, as far as can be told. */
  readonly isAbsent: boolean;
  readonly reason: string;
  readonly dump: DumpFound;
  /** Replaces it by a catalog of these records; durable when it resolves, and whole or as before at any time. */
  rebuild(records: readonly CatalogRecord[]): Promise<Catalog>;
}

/** Opens the catalog of a store that is open for writing. `withReserve` gives it space when a change met a full disk. */
export async function openCatalog(
  storage: CatalogStorage,
  storeId: StoreId,
  withReserve: WithReserve = (work) => work(),
): Promise<SoundCatalog | LostCatalog> {
  const { files } = storage;
  const checksum = await loadChecksum();
  const slots = await readSlots(files, checksum, storeId);
  const dump = await readDump(files, checksum, storeId);
  for (const name of [dumpName, ...slotNames]) await removeUnfinished(files, name);
  const lost = (reason: string, isAbsent = false): LostCatalog => ({
    kind: 'lost',
    isAbsent,
    reason,
    dump,
    rebuild: (records) => rebuild({ storage, storeId, checksum, slots, withReserve }, records),
  });

  let log: RecordLog | null = null;
  try {
    log = await storage.log.open();
    const content = await readDatabase(log, checksum);
    const table = provenTable(content.records);
    const disagreement = content.seal === null ? 'the database is empty' : compare(content.seal, slots.newest);
    if (content.seal === null || disagreement !== null) {
      await log.close();
      return lost(disagreement ?? 'the database is empty', isIncomplete(content.seal, slots));
    }
    return await finish(
      { storage, storeId, checksum, slots, withReserve },
      { log, table, dump, sums: content.sums, seal: content.seal },
    );
  } catch (error) {
    await log?.close().catch(() => undefined);
    if (error instanceof DamagedError) return lost(error.message);
    throw error;
  }
}

/** Reads the records of the dump of a store that is open for reading only. */
export async function readDumpOf(files: CatalogFiles, storeId: StoreId): Promise<DumpFound> {
  return readDump(files, await loadChecksum(), storeId);
}

interface Place {
  readonly withReserve: WithReserve;
  readonly storage: CatalogStorage;
  readonly storeId: StoreId;
  readonly checksum: Checksum;
  readonly slots: SlotsFound;
}

/** Whether the catalog was never completed: its slots come last, right after its first batch. */
function isIncomplete(seal: Seal | null, slots: SlotsFound): boolean {
  const isFirst = seal === null || seal.sequence === 1n;
  return isFirst && slotProblems(slots).filter(({ problem }) => problem === 'missing').length === slots.contents.length;
}

/** The records with their indexes; names and ids that contradict each other are damage, whatever the checksums say. */
function provenTable(records: readonly CatalogRecord[]): CatalogTable {
  try {
    return new CatalogTable(records);
  } catch (cause) {
    throw new DamagedError(cause instanceof Error ? cause.message : 'the records contradict each other', cause);
  }
}

/** Why the database is not what the slots say; null when it is. */
function compare(seal: Seal, newest: Seal | null): string | null {
  if (newest === null) return 'neither slot is valid';
  if (seal.sequence === newest.sequence) {
    return isSameContent(seal, newest) ? null : `batch ${seal.sequence} is not the one that was written`;
  }
  // Ahead: the crash came after a batch and before its slot, or after one more that nobody is told of by itself. Nobody
  // was answered, and the batches are whole.
  if (seal.sequence > newest.sequence && seal.sequence <= newest.sequence + 2n) return null;
  return `the database ends with batch ${seal.sequence}, but ${newest.sequence} were written`;
}

interface Content extends Pick<DatabaseContent, 'sums'> {
  readonly log: RecordLog;
  readonly table: CatalogTable;
  readonly dump: DumpFound;
  readonly seal: Seal;
}

/** Brings slots and dump in line with a sound database. */
async function finish(place: Place, content: Content): Promise<SoundCatalog> {
  const { storage, storeId, checksum, slots: found, withReserve } = place;
  const { files, log: logPlace } = storage;
  const problems = slotProblems(found).map(({ file, problem }) => ({
    file,
    message: `the slot was ${problem}, torn by a crash or damaged; it was written again`,
  }));
  const text = dumpText(content.table.records());
  if ('problem' in content.dump || dumpText(content.dump.records) !== text) {
    if ('problem' in content.dump)
      problems.push({ file: dumpName, message: `the dump was ${content.dump.problem}; it was written again` });
    await unwrapped(() => replaceDurably(files, dumpName, encodeDump(checksum, storeId, text)));
  }
  const slots = await unwrapped(() => Slots.open(files, checksum, storeId, found, content.seal));
  return {
    kind: 'sound',
    catalog: new DurableCatalog({ ...content, files, logPlace, withReserve, checksum, storeId, slots }),
    problems,
  };
}

/** The reason of a failed replacement; whether the old file is still there matters to nobody while opening. */
async function unwrapped<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof ReplaceError ? error.cause : error;
  }
}

async function rebuild(place: Place, records: readonly CatalogRecord[]): Promise<Catalog> {
  const { storage, storeId, checksum, slots: found, withReserve } = place;
  const { files, log: logPlace } = storage;
  const table = new CatalogTable(records);
  const encoded = records.map((record) => encodeRecord(checksum, record));
  const sums = new Map<RecordKey, bigint>(encoded.map(({ key, sum }) => [key, sum]));
  const seal: Seal = { sequence: (found.newest?.sequence ?? 0n) + 1n, ...counted(sums.values()) };

  // The records are in memory and the manifests and the dump are untouched: a crash from here on finds them again.
  await storage.log.remove();
  const log = await storage.log.open();
  try {
    await log.write([
      ...encoded.map(({ key, value }) => ({ type: 'put', key, value }) as const),
      { type: 'put', key: metaKey, value: encodeMeta(checksum, seal) },
    ]);
    await unwrapped(() => replaceDurably(files, dumpName, encodeDump(checksum, storeId, dumpText(records))));
    // The slots come last: without them the next open makes all of this again.
    const slots = await unwrapped(() => Slots.open(files, checksum, storeId, found, seal));
    return new DurableCatalog({ files, logPlace, withReserve, checksum, storeId, log, slots, table, sums, seal });
  } catch (error) {
    await log.close().catch(() => undefined);
    throw error;
  }
}
