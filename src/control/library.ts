/**
 * What the command layer needs of the rest of Stillpoint, as an interface.
 *
 * Commands get a `Library` in their context, so that tests can give them one in memory. The real one loads its parts
 * when they are first used: a command that fails on its arguments never loads the native addon.
 */

import type { CreateStoreOptions, OpenStoreOptions, Store, StoreInfo } from '../index.js';
import type { PortableStore } from '../portable/index.js';
import type { ImageKind } from '../images/image-kind.js';

/** The codec of new chunks. */
export type Compression = StoreInfo['compression'];

/** Makes and opens stores. */
export interface Library {
  createStore(options: CreateStoreOptions): Promise<unknown>;
  openStore(options: OpenStoreOptions): Promise<Store>;
  /** The reader that needs no native addon. */
  openPortable(path: string): Promise<PortableStore>;
  /** What lies at a path, by its first bytes. */
  imageKind(path: string): Promise<ImageKind>;
}

/** The library itself, loaded on first use. */
export const library: Library = {
  async createStore(options) {
    const { createStore } = await import('../index.js');
    return createStore(options);
  },
  async openStore(options) {
    const { openStore } = await import('../index.js');
    return openStore(options);
  },
  async openPortable(path) {
    const { openPortable } = await import('../portable/index.js');
    return openPortable(path);
  },
  async imageKind(path) {
    const { imageKind } = await import('../images/image-kind.js');
    return imageKind(path);
  },
};
