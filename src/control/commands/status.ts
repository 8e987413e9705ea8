/** Tells how the store is. */

import type { CommandContext } from '../context.js';
import type { Finding, Store } from '../library.js';
import { withStoreToLook } from '../opening.js';

export type StatusResult = Awaited<ReturnType<Store['status']>> & {
  /** What opening the store found or put right. */
  readonly findings: readonly Finding[];
};

/** The store's parameters, sizes, contents and running work. */
export async function status(context: CommandContext): Promise<StatusResult> {
  return withStoreToLook(context, async (store) => ({ ...(await store.status()), findings: store.findings }));
}
