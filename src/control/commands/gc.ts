/** Gives back the space of deleted restore points. */

import type { CollectReport } from '../../index.js';
import { progressOf, type CommandContext } from '../context.js';
import { withStore } from '../opening.js';

/** How to collect. */
export interface GcRequest {
  readonly dryRun: boolean;
  readonly bytesPerSecond?: number | undefined;
}

/** Removes what no point needs; with `dryRun` only tells what that would be. */
export async function gc(context: CommandContext, request: GcRequest): Promise<CollectReport> {
  return withStore(context, (store) =>
    store.collect({ ...request, signal: context.signal, onProgress: progressOf(context, 'gc') }),
  );
}
