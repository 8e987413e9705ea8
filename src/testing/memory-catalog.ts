/** Catalogs in memory that keep what they acknowledged, and take nothing once their process has ended. */

import type { CatalogFile, CatalogFiles } from '../catalog/files.js';
import type { CatalogStorage } from '../catalog/open.js';
import type { RecordLog, RecordLogPlace } from '../catalog/record-log.js';

interface Medium {
  readonly files: Map<string, Uint8Array>;
  readonly records: Map<string, Uint8Array>;
}

/** The catalogs of all stores of a world, by path. */
export class MemoryCatalogs {
  readonly #media: Map<string, Medium>;

  constructor(media: ReadonlyMap<string, Medium> = new Map()) {
    this.#media = new Map([...media].map(([path, { files, records }]) => [path, copyOf(files, records)]));
  }

  /** The same catalogs, from now on apart. */
  copy(): MemoryCatalogs {
    return new MemoryCatalogs(this.#media);
  }

  /** Where a store at a path keeps its catalog. `hasEnded`: the process is gone, nothing has an effect any more. */
  at(hasEnded: () => boolean): (storePath: string) => CatalogStorage {
    return (storePath) => {
      const medium = this.#media.get(storePath) ?? copyOf(new Map(), new Map());
      this.#media.set(storePath, medium);
      const alive = <T>(act: () => T): Promise<T> =>
        hasEnded() ? Promise.reject(new Error('simulated crash')) : Promise.resolve(act());
      return { files: filesOf(medium, alive), log: logOf(medium, alive) };
    };
  }
}

type Alive = <T>(act: () => T) => Promise<T>;

function copyOf(files: ReadonlyMap<string, Uint8Array>, records: ReadonlyMap<string, Uint8Array>): Medium {
  return { files: new Map(files), records: new Map(records) };
}

function filesOf({ files }: Medium, alive: Alive): CatalogFiles {
  const handle = (name: string): CatalogFile => ({
    write: (bytes) =>
      alive(() => {
        const merged = new Uint8Array(Math.max(bytes.length, files.get(name)?.length ?? 0));
        merged.set(files.get(name) ?? []);
        merged.set(bytes);
        files.set(name, merged);
      }),
    sync: () => alive(() => undefined),
    close: () => Promise.resolve(),
  });
  return {
    read: (name) => alive(() => files.get(name)?.slice() ?? null),
    create: (name) =>
      alive(() => {
        files.set(name, new Uint8Array());
        return handle(name);
      }),
    open: (name) => alive(() => handle(name)),
    rename: (from, to) =>
      alive(() => {
        files.set(to, files.get(from) ?? new Uint8Array());
        files.delete(from);
      }),
    remove: (name) => alive(() => void files.delete(name)),
    syncDirectory: () => alive(() => undefined),
  };
}

function logOf({ records }: Medium, alive: Alive): RecordLogPlace {
  const log: RecordLog = {
    readAll: () => alive(() => [...records].map(([key, value]) => [key, value.slice()] as const)),
    write: (batch) =>
      alive(() => {
        for (const operation of batch) {
          if (operation.type === 'put') records.set(operation.key, operation.value.slice());
          else records.delete(operation.key);
        }
      }),
    close: () => Promise.resolve(),
  };
  return {
    open: () => alive(() => log),
    remove: () =>
      alive(() => {
        records.clear();
      }),
  };
}
