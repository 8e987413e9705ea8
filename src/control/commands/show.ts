/** Shows one restore point, or one machine. */

import type { CommandContext } from '../context.js';
import type { RestorePoint } from '../../index.js';
import { withStoreToLook } from '../opening.js';
import { showMachine, type MachineView } from './machines.js';

export type PointView = RestorePoint & { readonly readOnly: boolean };

/** What a reference stands for: points have a slash in them, machines have none. */
export async function show(
  context: CommandContext,
  request: { readonly reference: string },
): Promise<PointView | MachineView> {
  if (!request.reference.includes('/')) return showMachine(context, { name: request.reference });
  return withStoreToLook(context, async (store) => ({
    ...(await store.restorePoint(request.reference)),
    readOnly: store.readOnly,
  }));
}
