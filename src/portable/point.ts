/** Restore points as the portable reader lists them, and how a caller names one of them. */

import { objectIdFrom, type ObjectId } from './brands.js';
import type { BlockMap } from './block-map.js';
import { PortableError } from './errors.js';

/** A disk of a restore point. */
export interface PortableDisk {
  readonly id: string;
  /** Unique within the machine, e.g. `os`. */
  readonly role: string;
  readonly name: string;
  readonly kind: 'external' | 'managed';
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /** True when the capture left the disk out; it then has no content in this point. */
  readonly excluded: boolean;
  /** Path of an external disk at the capture; null for a managed one. */
  readonly source: string | null;
}

/** A restore point as its manifest describes it. */
export interface PortablePoint {
  readonly id: string;
  /** When it was cut, milliseconds since 1970-01-01 UTC. */
  readonly createdMs: number;
  readonly machine: {
    readonly id: string;
    readonly name: string;
    readonly subscription: string;
    readonly resourceGroup: string;
  };
  readonly collection: { readonly id: string; readonly name: string };
  readonly name: string;
  /** Grows with each capture of the machine. */
  readonly sequence: number;
  readonly consistency: {
    /** Null when the capture did not ask for a mode. */
    readonly requested: string | null;
    readonly reached: string;
    /** What each writer reported, as the manifest has it. */
    readonly writers: unknown;
  };
  /** The machine's configuration as it was at the capture. */
  readonly configuration: unknown;
  readonly disks: readonly PortableDisk[];
}

/** A restore point with what is needed to read its disks. */
export interface StoredPoint {
  readonly id: ObjectId;
  /** The manifest, relative to the store. */
  readonly file: string;
  readonly listed: PortablePoint;
  /** By disk id; excluded disks have none. */
  readonly maps: ReadonlyMap<string, BlockMap>;
}

function sameName(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase();
}

/** `MACHINE/COLLECTION/POINT`, as messages name a point. */
export function pathOf(point: PortablePoint): string {
  return `${point.machine.name}/${point.collection.name}/${point.name}`;
}

/**
 * Finds a point by its id, by `MACHINE/COLLECTION/POINT`, or by `MACHINE/POINT`. Names are compared without case.
 *
 * Throws `POINT_NOT_FOUND`, or `NAME_AMBIGUOUS` with the candidates.
 */
export function findPoint(points: readonly StoredPoint[], reference: string): StoredPoint {
  const id = objectIdFrom(reference);
  const parts = reference.split('/');
  const [machine = '', second = '', third] = parts;
  const matches = points.filter(({ listed }) => {
    if (id !== null) return listed.id === id;
    if (parts.length < 2 || parts.length > 3 || !sameName(listed.machine.name, machine)) return false;
    if (third === undefined) return sameName(listed.name, second);
    return sameName(listed.collection.name, second) && sameName(listed.name, third);
  });
  const [match] = matches;
  if (match === undefined) {
    const message = `no restore point ${reference}; name it by id, MACHINE/COLLECTION/POINT or MACHINE/POINT`;
    throw new PortableError('POINT_NOT_FOUND', message, { point: reference });
  }
  if (matches.length > 1) {
    const candidates = matches.map(({ listed }) => `${pathOf(listed)} (${listed.id})`);
    const message = `${reference} names ${matches.length} restore points: ${candidates.join(', ')}`;
    throw new PortableError('NAME_AMBIGUOUS', message, { point: reference, candidates });
  }
  return match;
}

/** Finds a disk of a point by its role or id. Throws `DISK_NOT_FOUND`. */
export function findDisk(
  point: StoredPoint,
  reference: string,
): { readonly disk: PortableDisk; readonly map: BlockMap } {
  const { disks } = point.listed;
  const disk =
    disks.find((each) => sameName(each.role, reference)) ?? disks.find((each) => each.id === reference.toLowerCase());
  const context = { point: point.id, disk: reference };
  if (disk === undefined) {
    const roles = disks.map((each) => each.role).join(', ');
    throw new PortableError(
      'DISK_NOT_FOUND',
      `${pathOf(point.listed)} has no disk ${reference}, only ${roles}`,
      context,
    );
  }
  const map = point.maps.get(disk.id);
  if (map === undefined) {
    const message = `disk ${disk.role} was left out of ${pathOf(point.listed)}, so it has no content there`;
    throw new PortableError('DISK_NOT_FOUND', message, context);
  }
  return { disk, map };
}
