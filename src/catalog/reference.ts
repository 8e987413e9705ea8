/**
 * Finds what a text names: `VM`, `VM/POINT`, `VM/COLLECTION/POINT`. DESIGN section 1: `VM/POINT` is accepted wherever
 * it is unambiguous; else the error lists the candidates.
 */

import { StillpointError } from '../store/errors.js';
import { isSameName } from './names.js';
import type { MachineRecord, PointDisk, PointRecord } from './record.js';
import type { CatalogView } from './view.js';

/** How many names an error lists at most. */
const listedMax = 20;

function listed(names: readonly string[]): readonly string[] {
  return names.slice(0, listedMax);
}

/** The machine with a name. Errors: `MACHINE_NOT_FOUND`, with the names there are. */
export function findMachine(view: CatalogView, name: string): MachineRecord {
  const machine = view.machineNamed(name);
  if (machine !== undefined) return machine;
  throw new StillpointError('MACHINE_NOT_FOUND', `there is no machine ${JSON.stringify(name)}`, {
    machine: name,
    machines: listed(view.machines().map((each) => each.name)),
  });
}

/**
 * The restore point that a reference names; points that are still being made are not found.
 *
 * Errors: `ARGUMENT_INVALID` for a text of another form, `MACHINE_NOT_FOUND`, `COLLECTION_NOT_FOUND`,
 * `POINT_NOT_FOUND`, `NAME_AMBIGUOUS` with the candidates.
 */
export function findPoint(view: CatalogView, reference: string): PointRecord {
  const parts = reference.split('/');
  const [machineName, second, third] = parts;
  if (machineName === undefined || second === undefined || parts.length > 3 || parts.includes('')) {
    const message = `${JSON.stringify(reference)} does not name a restore point: VM/COLLECTION/POINT or VM/POINT`;
    throw new StillpointError('ARGUMENT_INVALID', message, { option: 'reference', received: reference });
  }
  const machine = findMachine(view, machineName);
  const points = view.pointsOf(machine.id).filter((point) => point.state !== 'creating');
  if (third === undefined)
    return onlyOne(
      view,
      reference,
      points.filter((point) => isSameName(point.name, second)),
    );

  const collection = view.collectionNamed(machine.id, second);
  if (collection === undefined) {
    const message = `the machine ${machine.name} has no collection ${JSON.stringify(second)}`;
    const collections = listed(view.collectionsOf(machine.id).map(({ name }) => name));
    throw new StillpointError('COLLECTION_NOT_FOUND', message, {
      machine: machine.name,
      collection: second,
      collections,
    });
  }
  const inCollection = points.filter((point) => point.collectionId === collection.id);
  return onlyOne(
    view,
    reference,
    inCollection.filter((point) => isSameName(point.name, third)),
  );
}

function onlyOne(view: CatalogView, reference: string, candidates: readonly PointRecord[]): PointRecord {
  const [point, ...others] = candidates;
  if (point === undefined) {
    throw new StillpointError('POINT_NOT_FOUND', `there is no restore point ${reference}`, { point: reference });
  }
  if (others.length === 0) return point;
  const names = candidates.map((candidate) => view.referenceOf(candidate));
  throw new StillpointError(
    'NAME_AMBIGUOUS',
    `${reference} names ${candidates.length} restore points: ${names.join(', ')}`,
    {
      point: reference,
      candidates: listed(names),
    },
  );
}

/** A disk of a point by its role. Errors: `DISK_NOT_FOUND`, also for a disk that was excluded. */
export function findDisk(view: CatalogView, point: PointRecord, role: string): PointDisk {
  const disk = point.disks.find((each) => isSameName(each.role, role));
  if (disk !== undefined && !disk.excluded) return disk;
  const reference = view.referenceOf(point);
  const captured = point.disks.filter((each) => !each.excluded).map((each) => each.role);
  const message =
    disk === undefined
      ? `the restore point ${reference} has no disk with the role ${JSON.stringify(role)}; it has ${captured.join(', ')}`
      : `the disk ${disk.role} was excluded from the restore point ${reference}; it has ${captured.join(', ')}`;
  throw new StillpointError('DISK_NOT_FOUND', message, { point: reference, disk: role, roles: listed(captured) });
}
