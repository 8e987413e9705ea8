/** What the tests of the portable reader make and have cleaned up after each test. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach } from 'vitest';

import { openPortable, type PortableStore } from '../../src/portable/index.js';
import { StoreWriter, type ChunkPlace, type FullCodec, type WriterOptions } from './store-writer.js';

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A writer of a new store. */
export async function newWriter(options: WriterOptions = {}): Promise<StoreWriter> {
  const writer = await StoreWriter.create(options);
  cleanups.push(() => writer.remove());
  return writer;
}

/** The reader of a store. */
export async function opened(writer: { readonly path: string }): Promise<PortableStore> {
  const store = await openPortable(writer.path);
  cleanups.push(() => store.close());
  return store;
}

/** An empty folder. */
export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'portable-target-'));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A place with stored content. */
export function data(plain: Uint8Array, codec: FullCodec = 0): ChunkPlace {
  return { kind: 'data', plain, codec };
}
