/** Checks that every restore point can be read. */

import { progressOf, type CommandContext } from '../context.js';
import type { Store } from '../library.js';
import { withStore } from '../opening.js';

export type VerifyResult = Awaited<ReturnType<Store['verify']>>;

/** Checks manifests, maps and, with `readData`, every chunk. Damage is in the result, not thrown. */
export async function verify(context: CommandContext, request: { readonly readData: boolean }): Promise<VerifyResult> {
  return withStore(context, (store) =>
    store.verify({ readData: request.readData, signal: context.signal, onProgress: progressOf(context, 'verify') }),
  );
}
