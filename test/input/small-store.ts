/** A real store with one machine of one disk and one point, and what it takes to see whether something changed in it. */

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

import { createStore, openStore, type CreateStoreOptions, type Finding, type Store } from '../../src/index.js';
import { noise, temporaryFolder, writeStill } from './temporary.js';

/** Where things are. */
export interface SmallStore {
  /** The folder around store and image, for images and targets of the test. */
  readonly folder: string;
  readonly path: string;
  /** The image of the disk `os` of the machine `web1`. */
  readonly image: string;
  /** A path in the folder. */
  at(name: string): string;
}

/** What makes a small store another one than usual. */
export interface SmallStoreOptions extends Omit<CreateStoreOptions, 'path'> {
  /** Bytes of the image; noise where left out. */
  readonly content?: Uint8Array;
  /** Where the store is; in the test's folder where left out. */
  readonly storePath?: string;
}

export const diskBytes: number = 512 * 1024;

/** Makes a store with the machine `web1`, whose disk `os` has the point `first`; closed, and gone with the test. */
export async function smallStore(options: SmallStoreOptions = {}): Promise<SmallStore> {
  return smallStoreIn(temporaryFolder(), options);
}

/** The same in a folder that somebody else removes. */
export async function smallStoreIn(folder: string, options: SmallStoreOptions = {}): Promise<SmallStore> {
  const { content = noise(1, diskBytes), storePath, ...create } = options;
  const at = (name: string): string => path.join(folder, name);
  const made: SmallStore = { folder, path: storePath ?? at('store'), image: at('os.raw'), at };
  await writeStill(made.image, content);
  await createStore({ path: made.path, ...create });
  await withOpen(made.path, async (store) => {
    await store.createVirtualMachine({ name: 'web1', disks: [{ role: 'os', external: made.image }] });
    await store.capture('web1', { name: 'first' });
  });
  return made;
}

/** Opens a store, uses it, and closes it whatever came of that. */
export async function withOpen<T>(storePath: string, use: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore({ path: storePath, threads: 1 });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

/** What must be equal when nothing has changed. */
export interface StoreState {
  readonly machines: unknown;
  readonly points: unknown;
  readonly findings: readonly Finding[];
  /** Every file of the home region. */
  readonly home: Readonly<Record<string, string>>;
}

/**
 * Everything that a user could see of a store, and a digest of each file that holds data.
 *
 * The catalog's files are left out: each open writes a log of its own. What they say is in the listings.
 */
export async function stateOf(storePath: string): Promise<StoreState> {
  const seen = await withOpen(storePath, async (store) => ({
    machines: await store.virtualMachines(),
    points: await store.restorePoints(),
    findings: [...store.findings, ...(await store.verify({ readData: true })).findings],
  }));
  return { ...seen, home: digests(path.join(storePath, 'home')) };
}

/** Each file below a folder with the SHA-256 of its bytes. */
export function digests(folder: string): Record<string, string> {
  const files = filesBelow(folder).sort();
  return Object.fromEntries(
    files.map((file) => [path.relative(folder, file), createHash('sha256').update(readFileSync(file)).digest('hex')]),
  );
}

/** Bytes of all files below a folder. */
export function bytesBelow(folder: string): number {
  return filesBelow(folder).reduce((sum, file) => sum + statSync(file).size, 0);
}

/** All files below a folder. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(file) : [file];
  });
}
