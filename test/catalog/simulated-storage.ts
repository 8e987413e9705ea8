/**
 * Storage for a catalog that loses what was not synced, and stops wherever a test wants.
 *
 * Every operation of files and database is one or more named steps. The hook may throw at any of them, which stands for
 * the end of the process: nothing has an effect after it until `restart` says what the medium kept.
 */

import { createHash } from 'node:crypto';

import { MemoryLevel } from 'memory-level';

import type { CatalogFile, CatalogFiles } from '../../src/catalog/files.js';
import type { CatalogStorage } from '../../src/catalog/open.js';
import { openRecordLog, type LogOperation, type RecordLog, type RecordLogPlace } from '../../src/catalog/record-log.js';

/** What became of writes that were not synced: all lost, all kept, or the first bytes of each file kept. */
export type Kept = 'nothing' | 'everything' | 'a part';

export const keptModes: readonly Kept[] = ['nothing', 'everything', 'a part'];

interface Inode {
  written: Uint8Array;
  durable: Uint8Array;
}

type Batch = readonly LogOperation[];

/** The medium of one catalog. */
export class SimulatedStorage implements CatalogStorage {
  readonly files: CatalogFiles;
  readonly log: RecordLogPlace;
  readonly #step: (name: string) => void;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #records = new Map<string, Uint8Array>();
  #unsyncedBatch: Batch | null = null;
  /** Called before each batch: what it waits for, the batch waits for, and what it throws, the batch fails with. */
  onBatch: () => void | Promise<void> = () => undefined;
  /** Thrown by the next opening of the database. */
  openFailure: Error | null = null;

  constructor(step: (name: string) => void = () => undefined) {
    this.#step = step;
    this.files = this.#makeFiles();
    this.log = { open: () => this.#openLog(), remove: () => this.#removeLog() };
  }

  /** Another medium that holds the same, what was not synced too. */
  copy(step: (name: string) => void = () => undefined): SimulatedStorage {
    const copy = new SimulatedStorage(step);
    const inodes = new Map<Inode, Inode>();
    const copied = (inode: Inode): Inode => {
      const known = inodes.get(inode) ?? { written: inode.written.slice(), durable: inode.durable.slice() };
      inodes.set(inode, known);
      return known;
    };
    copy.#names = new Map([...this.#names].map(([name, inode]) => [name, copied(inode)]));
    copy.#durableNames = new Map([...this.#durableNames].map(([name, inode]) => [name, copied(inode)]));
    copy.#records = new Map(this.#records);
    copy.#unsyncedBatch = this.#unsyncedBatch;
    return copy;
  }

  /** Everything that is there, as a text: equal for equal media. */
  digest(): string {
    const hash = createHash('sha256');
    for (const name of this.fileNames()) hash.update(`${name}\0`).update(this.bytesOf(name));
    for (const [key, value] of [...this.#records].sort(([left], [right]) => (left < right ? -1 : 1))) {
      hash.update(`\0${key}\0`).update(value);
    }
    return hash.digest('hex');
  }

  /** The medium after the process has ended. */
  restart(kept: Kept): void {
    if (kept !== 'everything') this.#names = new Map(this.#durableNames);
    for (const inode of this.#names.values()) {
      if (kept === 'nothing') inode.written = inode.durable;
      if (kept === 'a part') inode.written = torn(inode);
      inode.durable = inode.written;
    }
    this.#durableNames = new Map(this.#names);
    if (kept === 'everything' && this.#unsyncedBatch !== null) this.#apply(this.#unsyncedBatch);
    this.#unsyncedBatch = null;
  }

  /** The medium after the process was killed and nothing else: what was not synced is there, and is not durable yet. */
  kill(): void {
    // The database makes what it finds in its log durable when it is opened.
    if (this.#unsyncedBatch !== null) this.#apply(this.#unsyncedBatch);
    this.#unsyncedBatch = null;
  }

  /** A file's bytes, for a test to look at or to change. */
  bytesOf(name: string): Uint8Array {
    const inode = this.#names.get(name);
    if (inode === undefined) throw new Error(`there is no file ${name}`);
    return inode.written;
  }

  fileNames(): string[] {
    return [...this.#names.keys()].sort();
  }

  removeFile(name: string): void {
    this.#names.delete(name);
    this.#durableNames.delete(name);
  }

  /** The database's records, for a test to look at or to change. */
  get records(): Map<string, Uint8Array> {
    return this.#records;
  }

  /** What the whole medium holds now; `reset` brings it back. */
  snapshot(): () => void {
    const names = [...this.#names].map(([name, { written }]) => [name, written.slice()] as const);
    const records = new Map(this.#records);
    return () => {
      this.#names = new Map(names.map(([name, bytes]) => [name, { written: bytes.slice(), durable: bytes.slice() }]));
      this.#durableNames = new Map(this.#names);
      this.#records = new Map(records);
    };
  }

  #makeFiles(): CatalogFiles {
    const inodeOf = (name: string): Inode => {
      const inode = this.#names.get(name);
      if (inode === undefined) throw new Error(`ENOENT ${name}`);
      return inode;
    };
    return {
      read: async (name) => this.#names.get(name)?.written.slice() ?? null,
      create: async (name) => {
        this.#step(`create ${name}`);
        const inode = { written: new Uint8Array(), durable: new Uint8Array() };
        this.#names.set(name, inode);
        return this.#file(name, inode);
      },
      open: async (name) => this.#file(name, inodeOf(name)),
      rename: async (from, to) => {
        this.#step(`rename ${to}`);
        this.#names.set(to, inodeOf(from));
        this.#names.delete(from);
      },
      remove: async (name) => {
        this.#step(`remove ${name}`);
        this.#names.delete(name);
      },
      syncDirectory: async () => {
        this.#step('sync directory');
        this.#durableNames = new Map(this.#names);
      },
    };
  }

  #file(name: string, inode: Inode): CatalogFile {
    return {
      write: async (bytes) => {
        this.#step(`write ${name}`);
        const written = new Uint8Array(Math.max(bytes.length, inode.written.length));
        written.set(inode.written);
        written.set(bytes);
        inode.written = written;
      },
      sync: async () => {
        this.#step(`sync ${name}`);
        inode.durable = inode.written;
      },
      close: async () => undefined,
    };
  }

  async #openLog(): Promise<RecordLog> {
    if (this.openFailure !== null) throw this.openFailure;
    const level = new MemoryLevel<string, Uint8Array>({ keyEncoding: 'utf8', valueEncoding: 'view' });
    const log = await openRecordLog(level);
    await log.write([...this.#records].map(([key, value]) => ({ type: 'put', key, value })));
    return {
      readAll: () => log.readAll(),
      write: async (batch) => {
        await this.onBatch();
        this.#step('batch begins');
        this.#unsyncedBatch = batch;
        this.#step('batch is written');
        await log.write(batch);
        this.#apply(batch);
        this.#unsyncedBatch = null;
        this.#step('batch is synced');
      },
      close: () => log.close(),
    };
  }

  async #removeLog(): Promise<void> {
    this.#step('remove database');
    // A removal may be cut short: some records are gone, others are there.
    for (const key of [...this.#records.keys()].filter((_, index) => index % 2 === 0)) this.#records.delete(key);
    this.#step('remove database further');
    this.#records.clear();
  }

  #apply(batch: Batch): void {
    for (const operation of batch) {
      if (operation.type === 'put') this.#records.set(operation.key, operation.value.slice());
      else this.#records.delete(operation.key);
    }
  }
}

/** The first new bytes over the old ones, cut within the fields of a slot. */
function torn({ written, durable }: Inode): Uint8Array {
  const length = Math.ceil(written.length * 0.7);
  const bytes = new Uint8Array(Math.max(durable.length, length));
  bytes.set(durable);
  bytes.set(written.subarray(0, length));
  return bytes;
}
