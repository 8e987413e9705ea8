/** A store whose live disks are in memory, with a managed machine `db` of one disk `os` and a point `first`. */

import { mkdirSync } from 'node:fs';
import path from 'node:path';

import { createStore, openStore, type Store } from '../../src/index.js';
import type { Parts } from '../../src/index.js';
import { memoryEngine, type MemoryEngineFactory } from '../../src/testing/index.js';
import type { EngineStep } from '../../src/testing/memory-engine.js';
import { temporaryFolder } from './temporary.js';

export interface LiveStore {
  readonly store: Store;
  readonly engine: MemoryEngineFactory;
  readonly parts: Parts;
  readonly storePath: string;
  /** Called at each step of the engine. */
  onStep: (step: EngineStep) => void | Promise<void>;
}

export async function liveStore(): Promise<LiveStore> {
  const storePath = path.join(temporaryFolder(), 'store');
  const hooks: { onStep: (step: EngineStep) => void | Promise<void> } = { onStep: () => undefined };
  const engine = memoryEngine({ onStep: (step) => hooks.onStep(step) });
  const parts = { engine };
  await createStore({ path: storePath }, parts);
  // The engine keeps no files; the catalog does.
  mkdirSync(storePath, { recursive: true });
  const store = await openStore({ path: storePath }, parts);
  await store.createDisk({ name: 'one', sizeBytes: 8192 });
  await store.createDisk({ name: 'two', sizeBytes: 8192 });
  await store.createVirtualMachine({ name: 'db', disks: { os: 'one' } });
  await (await store.capture('db', { name: 'first' })).copied();
  return Object.assign(hooks, { store, engine, parts, storePath });
}
