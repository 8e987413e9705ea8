/** Restores into the store itself: to a new disk, in place, to a new machine. None of them moves data. */

import type {
  DiskRestoreReport,
  InPlaceRestoreReport,
  MachineRestoreReport,
  MomentOption,
  Store,
} from '../../index.js';
import type { CommandContext } from '../context.js';
import { withStore } from '../opening.js';
import { roleIn } from '../roles.js';

/** What is restored: a point, or a machine at a moment. */
export interface LiveSource {
  readonly source: string;
  /** Null: `source` is a point. */
  readonly at: MomentOption | null;
}

/** What a restore named, in full, for its answer. */
export interface Named {
  /** VM/COLLECTION/POINT, or the machine. */
  readonly source: string;
}

export type LiveRestoreResult =
  | ({ readonly kind: 'disk' } & Named & DiskRestoreReport)
  | ({ readonly kind: 'inPlace' } & Named & InPlaceRestoreReport)
  | ({ readonly kind: 'machine' } & Named & MachineRestoreReport);

/** The source's name in full, and its disks. */
export async function lookUp(
  store: Store,
  { source, at }: LiveSource,
): Promise<{
  readonly reference: string;
  readonly disks: readonly { readonly role: string; readonly excluded: boolean }[];
}> {
  if (at === null) return store.restorePoint(source);
  const machine = await store.virtualMachine(source);
  return { reference: machine.name, disks: machine.disks.map(({ role }) => ({ role, excluded: false })) };
}

const momentOf = ({ at }: LiveSource): { readonly at?: MomentOption } => (at === null ? {} : { at });

/** Makes a new disk; `disk` null where the source has only one. */
export async function restoreToDisk(
  context: CommandContext,
  request: LiveSource & { readonly disk: string | null; readonly name: string },
): Promise<LiveRestoreResult> {
  return withStore(context, async (store) => {
    const found = await lookUp(store, request);
    const disk = roleIn(found, request.disk);
    const report = await store.restoreToDisk(found.reference, { disk, name: request.name, ...momentOf(request) });
    return { kind: 'disk', source: found.reference, ...report };
  });
}

/** Gives disks of the machine back what they had; `disks` null for all. */
export async function restoreInPlace(
  context: CommandContext,
  request: LiveSource & { readonly disks: readonly string[] | null },
): Promise<LiveRestoreResult> {
  return withStore(context, async (store) => {
    const { reference } = await lookUp(store, request);
    const report = await store.restoreInPlace(reference, {
      ...(request.disks === null ? {} : { disks: request.disks }),
      ...momentOf(request),
    });
    return { kind: 'inPlace', source: reference, ...report };
  });
}

/** Makes a new machine. */
export async function restoreToMachine(
  context: CommandContext,
  request: LiveSource & { readonly name: string },
): Promise<LiveRestoreResult> {
  return withStore(context, async (store) => {
    const { reference } = await lookUp(store, request);
    const report = await store.restoreToMachine(reference, { name: request.name, ...momentOf(request) });
    return { kind: 'machine', source: reference, ...report };
  });
}
