/** Tells what machines and restore points take, and what deleting them would free. */

import type { StoreStatistics } from '../../index.js';
import { progressOf, type CommandContext } from '../context.js';
import { withStoreToLook } from '../opening.js';

export type StatsResult = StoreStatistics & { readonly readOnly: boolean };

/** The figures of one machine, or of all. */
export async function stats(
  context: CommandContext,
  request: { readonly machine: string | null },
): Promise<StatsResult> {
  return withStoreToLook(context, async (store) => ({
    ...(await store.statistics({
      machine: request.machine ?? undefined,
      signal: context.signal,
      onProgress: progressOf(context, 'stats'),
    })),
    readOnly: store.readOnly,
  }));
}
