/** Gives back the space of deleted restore points. */

import { progressOf, type CommandContext } from '../context.js';
import type { Store } from '../library.js';
import { withStore } from '../opening.js';

export type CollectResult = Awaited<ReturnType<Store['collect']>>;

/** Removes what no point needs; with `dryRun` only tells what that would be. */
export async function gc(context: CommandContext, request: { readonly dryRun: boolean }): Promise<CollectResult> {
  return withStore(context, (store) =>
    store.collect({ dryRun: request.dryRun, signal: context.signal, onProgress: progressOf(context, 'gc') }),
  );
}
