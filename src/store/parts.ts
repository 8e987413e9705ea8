/** What a program may replace of the library: time, chance, the engine, and where the catalog is kept. */

import path from 'node:path';

import { nodeFiles } from '../catalog/files.js';
import type { CatalogStorage } from '../catalog/open.js';
import { levelPlace } from '../catalog/record-log.js';
import type { EngineFactory } from '../native/engine.js';
import { systemClock, type Clock } from './clock.js';
import { systemRandom, type Random } from './random.js';

/** Parts to replace; those left out are the real ones. */
export interface Parts {
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined;
  /** Where ids come from. Default: the operating system's cryptographic source. */
  readonly random?: Random | undefined;
  /** Default: the native engine. */
  readonly engine?: EngineFactory | undefined;
  /** Where the catalog of the store at a path is kept. Default: LevelDB and three files in the store's directory. */
  readonly catalog?: ((storePath: string) => CatalogStorage) | undefined;
}

/** All parts. */
export interface WholeParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly engine: EngineFactory;
  readonly catalog: (storePath: string) => CatalogStorage;
}

/** The parts with those that are missing filled in; the addon is loaded only when it is needed. */
export async function wholeParts(parts: Parts): Promise<WholeParts> {
  return {
    clock: parts.clock ?? systemClock,
    random: parts.random ?? systemRandom,
    engine: parts.engine ?? (await import('../native/binding.js')).nativeEngine,
    catalog: parts.catalog ?? catalogIn,
  };
}

function catalogIn(storePath: string): CatalogStorage {
  return { files: nodeFiles(storePath), log: levelPlace(path.join(storePath, 'catalog')) };
}
