/** Gives back the space of deleted restore points. */

import type { CollectReport } from '../../index.js';
import { progressOf, type CommandContext } from '../context.js';
import { withStore } from '../opening.js';

/** Removes what no point needs; with `dryRun` only tells what that would be. */
export async function gc(context: CommandContext, request: { readonly dryRun: boolean }): Promise<CollectReport> {
  return withStore(context, (store) =>
    store.collect({ dryRun: request.dryRun, signal: context.signal, onProgress: progressOf(context, 'gc') }),
  );
}
