/** Makes a store. */

import type { CommandContext } from '../context.js';
import type { StoreInfo } from '../../index.js';
import type { Compression } from '../library.js';
import { withStore } from '../opening.js';

export interface InitRequest {
  /** Null: the library's default. */
  readonly chunkBytes: number | null;
  readonly compression: Compression | null;
  readonly compressionLevel: number | null;
}

export interface InitResult {
  readonly path: string;
  readonly info: StoreInfo;
}

/** Makes a store at the context's path; it is durable when this resolves. Throws `STORE_EXISTS`. */
export async function init(context: CommandContext, request: InitRequest): Promise<InitResult> {
  await context.library.createStore({
    path: context.storePath,
    chunkBytes: request.chunkBytes ?? undefined,
    compression: request.compression ?? undefined,
    compressionLevel: request.compressionLevel ?? undefined,
  });
  return withStore(context, async (store) => ({ path: context.storePath, info: store.info }));
}
