/**
 * Which point a disk's scan compares with first: its parent.
 *
 * The newest point of the machine, in any collection, that is `copied` and in which the disk was not excluded. So a disk
 * that was excluded for a while goes on from its own last point.
 */

import type { PointRecord } from '../catalog/record.js';
import type { CatalogView } from '../catalog/view.js';
import type { DiskId, MachineId, PointId } from '../store/units.js';

/** The parent of each disk; null for one that was never captured. */
export function parentsOf(
  view: CatalogView,
  machineId: MachineId,
  diskIds: readonly DiskId[],
): ReadonlyMap<DiskId, PointId | null> {
  const newestFirst = view
    .pointsOf(machineId)
    .filter((point) => point.state === 'copied')
    .reverse();
  return new Map(diskIds.map((id) => [id, newestFirst.find((point) => holds(point, id))?.id ?? null]));
}

function holds(point: PointRecord, diskId: DiskId): boolean {
  return point.disks.some((disk) => disk.id === diskId && !disk.excluded);
}
