/** Makes and opens stores: puts engine, catalog and coordinator together. */

import { look, recover } from '../coordinator/recover.js';
import type { Engine, Finding } from '../native/engine.js';
import type { Store } from './handles.js';
import type { Parts } from './parts.js';
import { wholeParts } from './parts.js';
import { createStorePlan, openStorePlan } from './plans.js';
import type { CreateStoreOptions, OpenStoreOptions } from './requests.js';
import { OpenStore } from './store.js';
import { toStoreId } from './units.js';

/**
 * Makes a store.
 *
 * Holds: when it resolves the empty store survives a power cut. Its catalog is made when it is first opened for writing.
 * Errors: `STORE_EXISTS` when the directory is not empty, `ARGUMENT_INVALID`, `PERMISSION_DENIED`, `NO_SPACE`.
 */
export async function createStore(options: CreateStoreOptions, parts: Parts = {}): Promise<void> {
  const plan = createStorePlan(options);
  const { engine } = await wholeParts(parts);
  await engine.create(plan);
}

/**
 * Opens a store, settles what a crash left, and reports it in `findings`.
 *
 * Holds: when it resolves, catalog and manifests agree. A store that is opened for reading only changes nothing, sees
 * the points whose manifests were there when it opened, and takes machines without points from the catalog's dump.
 * Errors: `STORE_NOT_FOUND`, `STORE_LOCKED`, `STORE_NEWER_FORMAT`, `STORE_DAMAGED`, `ARGUMENT_INVALID`,
 * `PERMISSION_DENIED`, `NO_SPACE`, `IO_FAILED`.
 */
export async function openStore(options: OpenStoreOptions, parts: Parts = {}): Promise<Store> {
  const plan = openStorePlan(options);
  const { clock, random, engine: factory, catalog: storageAt } = await wholeParts(parts);
  const storage = storageAt(plan.path);
  const opening = factory.open(plan);
  // Only loads code: no file of the catalog is looked at before the engine has the store's lock.
  if (!plan.readOnly) storage.log.prepare?.();
  const engine = await opening;
  try {
    const storeId = toStoreId(engine.info.storeId);
    const { catalog, findings, unfinished } = plan.readOnly
      ? await look(engine, storage.files, storeId)
      : await engine.withReserve(() => recover(engine, storage, storeId));
    const all = [...engineFindings(engine, findings), ...findings];
    return new OpenStore({ path: plan.path, engine, catalog, clock, random, findings: all, unfinished });
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** What the engine found, without the manifests about which recovery says more: which points and bytes are hit. */
function engineFindings(engine: Engine, recovered: readonly Finding[]): readonly Finding[] {
  const said = new Set(recovered.map(({ code, file }) => `${code} ${file}`));
  return engine.findings.filter(({ code, file }) => !said.has(`${code} ${file}`));
}
