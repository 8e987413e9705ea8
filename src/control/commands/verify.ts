/** Checks that every restore point can be read. */

import type { VerifyReport } from '../../index.js';
import { progressOf, type CommandContext } from '../context.js';
import { withStore } from '../opening.js';

/** Checks manifests, maps and, with `readData`, every chunk. Damage is in the report, not thrown. */
export async function verify(context: CommandContext, request: { readonly readData: boolean }): Promise<VerifyReport> {
  return withStore(context, (store) =>
    store.verify({ readData: request.readData, signal: context.signal, onProgress: progressOf(context, 'verify') }),
  );
}
