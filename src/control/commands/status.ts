/** Tells how the store is. */

import type { Finding, StoreStatus } from '../../index.js';
import type { CommandContext } from '../context.js';
import { withStoreToLook } from '../opening.js';

export type StatusResult = StoreStatus & {
  /** Another process has the store open for writing. */
  readonly lockedByOther: boolean;
  /** What opening the store found or put right. */
  readonly findings: readonly Finding[];
};

/** The store's parameters, sizes, contents and running work. */
export async function status(context: CommandContext): Promise<StatusResult> {
  return withStoreToLook(context, async (store, lockedByOther) => ({
    ...(await store.status()),
    lockedByOther,
    findings: store.findings,
  }));
}
