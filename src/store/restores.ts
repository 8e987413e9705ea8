/** Restores into the store itself: to a new disk, in place, to a new machine. */

import { isSameName } from '../catalog/names.js';
import { findDisk, findPoint } from '../catalog/reference.js';
import type { MachineRecord, ManagedDiskRecord } from '../catalog/record.js';
import type { CatalogView } from '../catalog/view.js';
import type { Coordinator } from '../coordinator/coordinator.js';
import { managedMachine } from '../coordinator/managed-disks.js';
import { sourceDisk, type Source, type SourceDisk } from '../coordinator/sources.js';
import { StillpointError } from './errors.js';
import type { RestoredMoment } from './handles.js';

/** The disk of a source with a role. Errors: `DISK_NOT_FOUND`, which says so of one that was excluded. */
export function diskOf(view: CatalogView, source: Source, role: string): SourceDisk {
  // Throws with the better message where a point has the disk and excluded it.
  if (source.at === null) findDisk(view, findPoint(view, source.name), role);
  return sourceDisk(source, role);
}

/** The moment as a member of an answer; nothing for a point. */
export function momentOf({ at }: Source): { readonly at?: RestoredMoment } {
  return at === null ? {} : { at };
}

/** Makes a detached disk of a disk of a source. */
export function toDisk(
  coordinator: Coordinator,
  source: Source,
  role: string,
  name: string,
): Promise<ManagedDiskRecord> {
  const { reference, sizeBytes, sectorBytes } = diskOf(coordinator.view, source, role);
  const content = { kind: 'point', from: reference, sizeBytes } as const;
  return coordinator.disks.create({ name, role: name, sectorBytes, content }, {});
}

/** Makes a machine of a source. */
export function toMachine(
  coordinator: Coordinator,
  source: Source,
  place: { readonly name: string; readonly subscription: string; readonly resourceGroup: string },
): Promise<MachineRecord> {
  const make = source.disks.map(({ role, sectorBytes, sizeBytes, reference }) => {
    return { role, sectorBytes, content: { kind: 'point', from: reference, sizeBytes } as const };
  });
  const { configuration } = source;
  return coordinator.disks.createMachine({ ...place, configuration, attach: [], make }, {});
}

/** Resets disks of the source's machine. Errors: `DISKS_DIFFER`, `MACHINE_NOT_MANAGED`, `DISK_NOT_FOUND`. */
export async function inPlace(
  coordinator: Coordinator,
  source: Source,
  roles: readonly string[] | null,
): Promise<{ readonly machine: string; readonly disks: readonly string[]; readonly lsn: string }> {
  const { view } = coordinator;
  const machine = managedMachine(view, source.machine);
  const attached = view.disksOf(machine).flatMap((disk) => (disk.kind === 'managed' ? [disk] : []));
  if (roles === null) checkSameDisks(source, machine, attached);
  const pairs = roles === null ? attached.map(({ role, id }) => pairById(source, role, id, attached)) : byRole();
  const { lsn } = await coordinator.disks.reset(
    machine,
    pairs.map(([disk, from]) => ({ id: disk.id, from: from.reference, sectorBytes: from.sectorBytes })),
  );
  return { machine: machine.name, disks: pairs.map(([disk]) => disk.role), lsn };

  function byRole(): (readonly [ManagedDiskRecord, SourceDisk])[] {
    const wanted = [...new Map((roles ?? []).map((role) => [role.toLowerCase(), role])).values()];
    return wanted.map((role) => {
      const disk = attached.find((each) => isSameName(each.role, role));
      if (disk !== undefined) return [disk, diskOf(view, source, role)];
      const own = attached.map((each) => each.role);
      const message = `the machine ${machine.name} has no disk with the role ${JSON.stringify(role)}; it has ${own.join(', ')}`;
      throw new StillpointError('DISK_NOT_FOUND', message, { machine: machine.name, disk: role, roles: own });
    });
  }
}

function checkSameDisks(source: Source, machine: MachineRecord, attached: readonly ManagedDiskRecord[]): void {
  const then = source.disks.map(({ id }) => id).sort();
  const now = attached.map(({ id }) => id).sort();
  if (then.length > 0 && then.join() === now.join()) return;
  const [roles, own] = [source.disks.map(({ role }) => role), attached.map(({ role }) => role)];
  const message = `${source.name} has the disks ${roles.join(', ')}, which are not exactly those of ${machine.name} now: ${own.join(', ')}`;
  throw new StillpointError('DISKS_DIFFER', message, { machine: machine.name, then: roles, now: own });
}

function pairById(
  source: Source,
  role: string,
  id: string,
  attached: readonly ManagedDiskRecord[],
): readonly [ManagedDiskRecord, SourceDisk] {
  const from = source.disks.find((disk) => disk.id === id);
  const disk = attached.find((each) => each.id === id);
  if (from !== undefined && disk !== undefined) return [disk, from];
  throw new StillpointError('INTERNAL', `${source.name} has no disk ${role}`, { disk: role });
}
