/** The names that a shell completes to: machines, points, roles, managed disks. */

import type { CommandContext } from '../context.js';
import { withStoreToLook } from '../opening.js';

/** What a word of a command line stands for. */
export type NameKind = 'machine' | 'point' | 'machine-or-point' | 'role' | 'disk';

export interface CompleteRequest {
  readonly kind: NameKind;
  /** The words typed so far: a role is one of the machine or point among them, if there is one. */
  readonly words: readonly string[];
}

/**
 * Names of the kind asked for, sorted.
 *
 * Points are given in their short form where it is unambiguous, and in full where a collection was typed. The lock is never taken, so that completing a word
 * cannot make another process wait.
 */
export async function complete(context: CommandContext, request: CompleteRequest): Promise<{ value: string[] }> {
  return withStoreToLook({ ...context, readOnly: true }, async (store) => {
    if (request.kind === 'disk') return { value: (await store.disks()).map(({ name }) => name).sort() };
    const names = new Set<string>();
    const wantMachines = request.kind !== 'point';
    const machines = wantMachines ? await store.virtualMachines() : [];
    const points = request.kind === 'machine' ? [] : await store.restorePoints();
    const short = (point: { machine: string; name: string }): string => `${point.machine}/${point.name}`;
    if (request.kind === 'role') {
      const words = new Set(request.words.map((word) => word.toLowerCase()));
      const named = [
        ...machines.filter((machine) => words.has(machine.name.toLowerCase())),
        ...points.filter((point) => words.has(point.reference.toLowerCase()) || words.has(short(point).toLowerCase())),
      ];
      for (const { disks } of named.length > 0 ? named : [...machines, ...points]) {
        for (const { role } of disks) names.add(role);
      }
    } else {
      for (const machine of machines) names.add(machine.name);
      const counts = new Map<string, number>();
      for (const point of points) counts.set(short(point), (counts.get(short(point)) ?? 0) + 1);
      const typed = request.words.map((word) => word.toLowerCase());
      for (const point of points) {
        const collection = `${point.machine}/${point.collection}/`.toLowerCase();
        const inFull = counts.get(short(point)) !== 1 || typed.some((word) => word.startsWith(collection));
        names.add(inFull ? point.reference : short(point));
      }
    }
    return { value: [...names].sort() };
  });
}
