/**
 * The open catalog: what is known, and the one way to change it.
 *
 * A change goes through `transact`: a function looks at the records and says what becomes of them, and the batch that
 * follows is durable before anybody sees it (docs/catalog-format.md, section 3: dump, batch, slot, then memory). Batches
 * are serial, so what the function saw still holds when its batch is written: two callers cannot take one name.
 *
 * After a failure that leaves the files unknown the catalog is fenced: readers go on, changes get `STORE_FENCED`. A batch
 * that met a full disk is no such failure: the database is opened anew, which says whether the batch is in it.
 */

import type { WithReserve } from '../native/engine.js';
import { isStillpointError, StillpointError } from '../store/errors.js';
import type { StoreId } from '../store/units.js';
import type { Checksum } from './checksum.js';
import { DamagedError } from './damaged-error.js';
import { dumpName, dumpText, encodeDump, readDump } from './dump.js';
import { ReplaceError, replaceDurably, type CatalogFiles } from './files.js';
import { deepFreeze } from './json.js';
import { isDumped, keyOf, type Change, type RecordKey } from './record.js';
import { encodeMeta, encodeRecord, metaKey } from './record-codec.js';
import type { LogOperation, RecordLog, RecordLogPlace } from './record-log.js';
import { readDatabase } from './database.js';
import { isSameContent, nextSeal, type Seal } from './seal.js';
import { readSlots, slotProblems, type Slots } from './slots.js';
import type { CatalogTable, CatalogView } from './view.js';

/** What a transaction decides: the changes, and what its caller gets once they are durable. */
export interface Decision<T> {
  readonly changes: readonly Change[];
  readonly result: T;
  /**
   * Nobody is told of these changes before those of a later transaction are durable too, and the store is right without
   * them: their seal may be left to that one's.
   */
  readonly isInterim?: boolean;
  /**
   * Called once nothing but the files can fail the changes, before the first of them is written: for what may go on beside
   * that. When the transaction rejects after this call, its caller undoes what was begun.
   */
  readonly beside?: () => void;
}

/** Something that is wrong with a file of the catalog. */
export interface CatalogProblem {
  /** Relative to the store. */
  readonly file: string;
  readonly message: string;
}

/** The catalog as the rest of the library uses it. */
export interface Catalog {
  readonly view: CatalogView;
  /**
   * Runs `decide` with nobody else changing the catalog, and makes its changes durable.
   *
   * Holds: when it resolves the changes survive a power cut and are visible; when it rejects they are not visible.
   * Errors: what `decide` throws; `NO_SPACE`, `IO_FAILED`, `PERMISSION_DENIED`; `STORE_FENCED` after a failure that
   * left the files unknown; `STORE_READ_ONLY`.
   */
  transact<T>(decide: (view: CatalogView) => Decision<T>): Promise<T>;
  /** Reads all files of the catalog again and tells what differs from what they must hold. */
  check(): Promise<readonly CatalogProblem[]>;
  /** Waits for running transactions and closes the files. */
  close(): Promise<void>;
}

/** What an open catalog consists of. */
export interface CatalogParts {
  readonly files: CatalogFiles;
  readonly checksum: Checksum;
  readonly storeId: StoreId;
  readonly log: RecordLog;
  /** Where `log` was opened. */
  readonly logPlace: RecordLogPlace;
  readonly withReserve: WithReserve;
  readonly slots: Slots;
  readonly table: CatalogTable;
  /** The sum of each record. */
  readonly sums: Map<RecordKey, bigint>;
  readonly seal: Seal;
}

/** A batch that is certainly not in the database, and why it is not. */
class UnchangedError extends Error {
  override readonly name = 'UnchangedError';

  constructor(cause: unknown) {
    super('a batch was not written', { cause });
  }
}

/** A catalog that can be changed. */
export class DurableCatalog implements Catalog {
  readonly #parts: CatalogParts;
  #log: RecordLog;
  /** Of the newest batch. */
  #seal: Seal;
  /** Of the newest batch whose seal is in a slot: that one, or the one before it. */
  #slotSeal: Seal;
  #tail: Promise<unknown> = Promise.resolve();
  #fencedBy: unknown = null;

  constructor(parts: CatalogParts) {
    this.#parts = parts;
    this.#log = parts.log;
    this.#seal = parts.seal;
    this.#slotSeal = parts.seal;
  }

  get view(): CatalogView {
    return this.#parts.table;
  }

  transact<T>(decide: (view: CatalogView) => Decision<T>): Promise<T> {
    return this.#alone(async () => {
      if (this.#fencedBy !== null) {
        const message = 'a write of the catalog failed earlier, so nothing more is written through this store handle';
        throw new StillpointError('STORE_FENCED', message, {}, this.#fencedBy);
      }
      const decision = decide(this.#parts.table);
      if (decision.changes.length > 0) await this.#commit(decision);
      else decision.beside?.();
      return decision.result;
    });
  }

  check(): Promise<readonly CatalogProblem[]> {
    return this.#alone(async () => [
      ...(await this.#databaseProblems()),
      ...(await this.#slotProblems()),
      ...(await this.#dumpProblems()),
    ]);
  }

  close(): Promise<void> {
    return this.#alone(async () => {
      await this.#log.close();
      await this.#parts.slots.close();
    });
  }

  /** One after the other, in the order of the calls. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#tail.then(work, work);
    this.#tail = done.catch(() => undefined);
    return done;
  }

  async #commit({ changes: decided, isInterim, beside }: Decision<unknown>): Promise<void> {
    const changes = deepFreeze(decided);
    const { table, sums, checksum, storeId, slots } = this.#parts;
    const puts = changes.flatMap((change) => ('put' in change ? [encodeRecord(checksum, change.put)] : []));
    const keys = changes.map((change) => ('put' in change ? keyOf(change.put) : change.remove));
    const dump = this.#dumpAfter(changes);

    beside?.();
    if (dump !== null) await this.#replaceDump(encodeDump(checksum, storeId, dump));
    const seal = nextSeal(
      this.#seal,
      keys.flatMap((key) => sums.get(key) ?? []),
      puts.map(({ sum }) => sum),
    );
    const batch: LogOperation[] = [
      ...changes.flatMap((change) => ('remove' in change ? [{ type: 'del', key: change.remove } as const] : [])),
      ...puts.map(({ key, value }) => ({ type: 'put', key, value }) as const),
      { type: 'put', key: metaKey, value: encodeMeta(checksum, seal) },
    ];
    try {
      await this.#writeBatch(batch, seal);
      // Opening knows a database that is two batches ahead of the slots, and no more.
      if (isInterim !== true || this.#slotSeal !== this.#seal) {
        await slots.write(seal);
        this.#slotSeal = seal;
      }
    } catch (error) {
      if (!(error instanceof UnchangedError)) {
        this.#fencedBy = error;
        throw error;
      }
      if (dump !== null) await this.#takeDumpBack();
      throw error.cause;
    }

    this.#seal = seal;
    for (const key of keys) sums.delete(key);
    for (const { key, sum } of puts) sums.set(key, sum);
    table.apply(changes);
  }

  /**
   * Writes a batch. Errors: `UnchangedError` when it met a full disk and is certainly not in the database; any other
   * error leaves that unknown.
   *
   * LevelDB may not be written to after such a failure: the part of the batch that did fit stands in its log, and what
   * came behind it would be dropped at the next open. Opened anew it reads its log up to that part and makes a table of
   * it, durable, which also covers a failed sync: nothing of the old file is built upon. Then the batch is tried once
   * more: what had met the full disk may have been a compaction that ran on after somebody else's change.
   */
  async #writeBatch(batch: LogOperation[], seal: Seal): Promise<void> {
    for (let isLast = false; ; isLast = true) {
      try {
        await this.#log.write(batch);
        return;
      } catch (error) {
        if (!isStillpointError(error, 'NO_SPACE')) throw error;
        const found = await this.#parts.withReserve(() => this.#reopen()).catch(() => null);
        if (found === null) throw error;
        const holds = (other: Seal): boolean => found.sequence === other.sequence && isSameContent(found, other);
        if (holds(seal)) return;
        if (!holds(this.#seal)) throw error;
        if (isLast) throw new UnchangedError(error);
      }
    }
  }

  /** Opens the database anew and gives the seal that it has. */
  async #reopen(): Promise<Seal | null> {
    await this.#log.close();
    this.#log = await this.#parts.logPlace.open();
    return (await readDatabase(this.#log, this.#parts.checksum)).seal;
  }

  /** The dump as it is after the changes; null when they do not touch it. Proves on the way that the changes hold. */
  #dumpAfter(changes: readonly Change[]): string | null {
    const { table } = this.#parts;
    const isTouched = changes.some((change) => {
      const before = table.get('put' in change ? keyOf(change.put) : change.remove);
      return ('put' in change && isDumped(change.put)) || (before !== undefined && isDumped(before));
    });
    const inverse = table.apply(changes);
    try {
      return isTouched ? dumpText(table.records()) : null;
    } finally {
      // Nothing awaits between the two, so no reader sees the changes before they are durable.
      table.apply(inverse);
    }
  }

  /** Writes the dump of the records as they are, in the place of one that says more. Fences when that fails. */
  async #takeDumpBack(): Promise<void> {
    const { checksum, storeId, table, withReserve } = this.#parts;
    const bytes = encodeDump(checksum, storeId, dumpText(table.records()));
    try {
      await withReserve(() => this.#replaceDump(bytes));
    } catch (error) {
      this.#fencedBy = error;
      throw error;
    }
  }

  async #replaceDump(bytes: Uint8Array): Promise<void> {
    try {
      await replaceDurably(this.#parts.files, dumpName, bytes);
    } catch (error) {
      if (!(error instanceof ReplaceError)) throw error;
      if (!error.isUnchanged) this.#fencedBy = error.cause;
      throw error.cause;
    }
  }

  async #databaseProblems(): Promise<CatalogProblem[]> {
    const { checksum, sums } = this.#parts;
    const file = 'catalog';
    try {
      const { seal, sums: found } = await readDatabase(this.#log, checksum);
      if (seal === null) return [{ file, message: 'the meta record is gone' }];
      const isSame =
        seal.sequence === this.#seal.sequence && isSameContent(seal, this.#seal) && found.size === sums.size;
      return isSame ? [] : [{ file, message: 'the records that can be read are not those that were written' }];
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      return [{ file, message: error.message }];
    }
  }

  async #slotProblems(): Promise<CatalogProblem[]> {
    const { files, checksum, storeId } = this.#parts;
    const found = await readSlots(files, checksum, storeId);
    const problems = slotProblems(found).map(({ file, problem }) => ({ file, message: `the slot is ${problem}` }));
    const { newest } = found;
    if (newest?.sequence === this.#slotSeal.sequence && isSameContent(newest, this.#slotSeal)) return problems;
    return [
      ...problems,
      { file: 'catalog.slot-a', message: 'neither slot has the newest seal that was written to one' },
    ];
  }

  async #dumpProblems(): Promise<CatalogProblem[]> {
    const { files, checksum, storeId, table } = this.#parts;
    const found = await readDump(files, checksum, storeId);
    if ('problem' in found) return [{ file: dumpName, message: `the dump is ${found.problem}` }];
    const isCurrent = dumpText(found.records) === dumpText(table.records());
    return isCurrent ? [] : [{ file: dumpName, message: 'the dump does not hold what it must' }];
  }
}

/** A catalog that only tells, made from records that come from elsewhere. */
export function readOnlyCatalog(view: CatalogView): Catalog {
  return {
    view,
    transact: () => Promise.reject(new StillpointError('STORE_READ_ONLY', 'the store is open for reading only')),
    check: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  };
}
