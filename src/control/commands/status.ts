/** Tells how the store is. */

import type { Finding, StoreStatus } from '../../index.js';
import type { CommandContext } from '../context.js';
import { withStoreToLook } from '../opening.js';

export type StatusResult = StoreStatus & {
  /** Another process has the store open for writing. */
  readonly lockedByOther: boolean;
  /** The process that keeps the store open and answered; null where the command opened it itself. */
  readonly server: { readonly pid: number } | null;
  /** What opening the store found or put right. */
  readonly findings: readonly Finding[];
};

/** The store's parameters, sizes, contents and running work. */
export async function status(context: CommandContext): Promise<StatusResult> {
  return withStoreToLook(context, async (store, lockedByOther) => ({
    ...(await store.status()),
    lockedByOther,
    server: context.held === null ? null : { pid: process.pid },
    findings: store.findings,
  }));
}
