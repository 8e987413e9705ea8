/**
 * Where restored content comes from: a restore point, copied or not, or a moment that a machine's write log still holds.
 *
 * A moment becomes a hidden point: a cut that no record names. It lives as long as its use; a crash leaves a cut that
 * nobody knows, which the next open drops. A disk that was made from it keeps it until it is copied to its roots.
 */

import { lossCode } from '../catalog/finding.js';
import type { Json } from '../catalog/json.js';
import type { PointRecord } from '../catalog/record.js';
import { findDisk, findPoint } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import type { DiskReference, Engine, Moment } from '../native/engine.js';
import { StillpointError } from '../store/errors.js';
import { toDiskId, type DiskId, type MachineId, type PointId } from '../store/units.js';
import type { Background } from './background.js';
import { managedMachine } from './managed-disks.js';

/** A disk of a source, ready to be read. */
export interface SourceDisk {
  readonly id: DiskId;
  readonly role: string;
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  readonly reference: DiskReference;
}

/** What something is restored from. */
export interface Source {
  /** As messages name it: `VM/COLLECTION/POINT`, or the machine. */
  readonly name: string;
  readonly machineId: MachineId;
  readonly machine: string;
  readonly configuration: Json;
  readonly disks: readonly SourceDisk[];
  /** The moment that was found; null for a point. */
  readonly at: { readonly lsn: string; readonly timeMs: number } | null;
}

/** What a caller names: a point, or a machine with a moment. */
export interface SourceName {
  readonly name: string;
  readonly at: Moment | null;
}

/** The point that a reference names, if its content is there. Errors: those of `findPoint`, `POINT_BUSY`, its loss. */
export function readablePoint(view: CatalogView, reference: string): PointRecord {
  const point = findPoint(view, reference);
  const name = view.referenceOf(point);
  if (point.state === 'deleting') {
    throw new StillpointError('POINT_BUSY', `the restore point ${name} is being deleted`, {
      point: name,
      state: point.state,
    });
  }
  if (point.failure !== null) {
    throw new StillpointError(lossCode(point), `${name} cannot be read: ${point.failure.message}`, { point: name });
  }
  return point;
}

/** The engine's names for a disk of a point. Errors: those of `readablePoint`, `DISK_NOT_FOUND`. */
export function readableDisk(view: CatalogView, reference: string, role: string): DiskReference {
  const point = readablePoint(view, reference);
  return { pointId: point.id, diskId: findDisk(view, point, role).id };
}

/** A restore point as a source. */
export function pointSource(view: CatalogView, reference: string): Source {
  const point = readablePoint(view, reference);
  return {
    name: view.referenceOf(point),
    machineId: point.machineId,
    machine: view.machine(point.machineId)?.name ?? '',
    configuration: point.configuration,
    disks: point.disks.flatMap(({ id, role, sizeBytes, sectorBytes, excluded }) =>
      excluded ? [] : [{ id, role, sizeBytes, sectorBytes, reference: { pointId: point.id, diskId: id } }],
    ),
    at: null,
  };
}

/** A disk of a source by its role. Errors: `DISK_NOT_FOUND`. */
export function sourceDisk(source: Source, role: string): SourceDisk {
  const disk = source.disks.find((each) => each.role.toLowerCase() === role.toLowerCase());
  if (disk !== undefined) return disk;
  const roles = source.disks.map((each) => each.role);
  const message = `${source.name} has no disk with the role ${JSON.stringify(role)}; it has ${roles.join(', ')}`;
  throw new StillpointError('DISK_NOT_FOUND', message, { point: source.name, disk: role, roles });
}

/** What moments stand on. */
export interface MomentParts {
  readonly engine: Engine;
  readonly view: CatalogView;
  readonly background: Background;
  readonly newPointId: () => PointId;
}

/**
 * Uses the content of a machine at a moment.
 *
 * Errors: `MACHINE_NOT_FOUND`, `MACHINE_NOT_MANAGED`, `MOMENT_NOT_KEPT`, and what `use` rejects with.
 */
export async function atMoment<T>(
  { engine, view, background, newPointId }: MomentParts,
  machineName: string,
  at: Moment,
  use: (source: Source) => Promise<T>,
): Promise<T> {
  const machine = managedMachine(view, machineName);
  const pointId = newPointId();
  const hidden = { machineId: machine.id, pointId, collection: 'default', name: '', detail: '' };
  const drop = (): void => {
    void background.run((signal) => engine.dropCut(pointId, { signal }));
  };
  try {
    const cut = await engine.pointInTime({ ...hidden, at });
    const { lsn, timeMs } = cut;
    const disks = cut.disks.map(({ diskId, sizeBytes, sectorBytes }): SourceDisk => {
      const id = toDiskId(diskId);
      // A disk that was deleted since has no role any more.
      const role = view.disk(id)?.role ?? id;
      return { id, role, sizeBytes, sectorBytes, reference: { pointId, diskId } };
    });
    const { id: machineId, name, configuration } = machine;
    return await use({ name, machineId, machine: name, configuration, disks, at: { lsn, timeMs } });
  } finally {
    drop();
  }
}
