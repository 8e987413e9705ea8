/**
 * Opens the store for one command and closes it again.
 *
 * Two ways: `withStore` takes the store's lock (unless a read-only look was asked for), `withStoreToLook` prefers the
 * lock and goes on without it where another process has it or where the store cannot be written. After a failure the store is closed too, and the first
 * error is the one that is reported. In a process that keeps the store open both use that one, and leave it open.
 *
 * While a command that has the lock runs for longer than a moment, other processes can ask it how the store is (`guests.ts`).
 */

import { isStillpointError } from '../store/errors.js';
import type { CommandContext, ReadOnlyReason } from './context.js';
import { guestsOf } from './guests.js';
import type { Store } from '../index.js';

async function open(context: CommandContext, readOnly: boolean): Promise<Store> {
  context.signal.throwIfAborted();
  const store = await context.library.openStore({
    path: context.storePath,
    readOnly,
    threads: context.threads ?? undefined,
  });
  if (store.findings.length > 0) context.onFindings(store.findings);
  return store;
}

/** Why a look has to do without the lock; null for an error that no read-only look would avoid. */
function reasonOf(error: unknown): ReadOnlyReason | null {
  if (isStillpointError(error, 'STORE_LOCKED')) return 'locked';
  return isStillpointError(error, 'PERMISSION_DENIED') ? 'denied' : null;
}

async function closeAfter<Result>(
  context: CommandContext,
  store: Store,
  use: (store: Store) => Promise<Result>,
): Promise<Result> {
  const guests = store.readOnly ? null : guestsOf(context, store);
  let result: Result;
  try {
    result = await use(store);
  } catch (error) {
    await guests?.leave();
    // The use's error says more than a failed close after it, which is often its consequence.
    await store.close().catch(() => undefined);
    throw error;
  }
  await guests?.leave();
  await store.close();
  return result;
}

/** Opens the store for a command that changes it or reads chunks for long. Throws `STORE_LOCKED`. */
export async function withStore<Result>(
  context: CommandContext,
  use: (store: Store) => Promise<Result>,
): Promise<Result> {
  if (context.held !== null) return use(context.held.store);
  return closeAfter(context, await open(context, context.readOnly), use);
}

/**
 * Opens the store for a command that only looks: without the lock where another process has it, or where the store is on
 * a read-only file system or belongs to someone else. Which of them is told.
 */
export async function withStoreToLook<Result>(
  context: CommandContext,
  use: (store: Store, lockedByOther: boolean) => Promise<Result>,
): Promise<Result> {
  if (context.held !== null) return use(context.held.store, false);
  let store: Store;
  let lockedByOther = false;
  try {
    store = await open(context, context.readOnly);
  } catch (error) {
    const why = reasonOf(error);
    if (context.readOnly || why === null) throw error;
    store = await open(context, true);
    lockedByOther = why === 'locked';
    context.onReadOnlyLook(why);
  }
  return closeAfter(context, store, (opened) => use(opened, lockedByOther));
}
