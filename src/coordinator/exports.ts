/**
 * What the names of NBD exports stand for.
 *
 * | name | export |
 * | --- | --- |
 * | `DISK` or `MACHINE/ROLE` | a live disk, to read and write |
 * | `MACHINE/POINT/ROLE` or `MACHINE/COLLECTION/POINT/ROLE` | a disk of a restore point, to read |
 * | `scratch:` before one of those | a writable clone of it, which all who ask for it share and which goes with the last of them |
 *
 * The empty name stands for the only live disk, where there is one only. Names are looked up anew for every client, so what was
 * created since the server began is there and what was deleted is not.
 */

import { folded, isSameName } from '../catalog/names.js';
import type { ManagedDiskRecord, PointDisk, PointRecord } from '../catalog/record.js';
import { findDisk } from '../catalog/reference.js';
import type { CatalogView } from '../catalog/view.js';
import type { DiskReference, NbdExport, NbdExports, NbdListed } from '../native/engine.js';
import { isStillpointError, StillpointError, type ErrorCode } from '../store/errors.js';
import type { Background } from './background.js';
import type { ManagedDisks } from './managed-disks.js';
import { readablePoint } from './sources.js';

const scratchPrefix = 'scratch:';

/** How many points clients are told of since which changes can be asked for, besides the one before. */
const listedBitmapsMax = 16;

/** Errors that say no more than that there is no export of a name. */
const unknownCodes: readonly ErrorCode[] = [
  'ARGUMENT_INVALID',
  'COLLECTION_NOT_FOUND',
  'DISK_NOT_FOUND',
  'MACHINE_NOT_FOUND',
  'POINT_NOT_FOUND',
];

/** What exports stand on. */
export interface ExportsParts {
  readonly view: CatalogView;
  readonly disks: ManagedDisks;
  readonly background: Background;
  readonly readOnly: boolean;
}

interface Scratch {
  readonly name: string;
  readonly made: Promise<ManagedDiskRecord>;
  users: number;
}

/** The exports of one server. */
export class StoreExports implements NbdExports {
  readonly #parts: ExportsParts;
  readonly #scratches = new Map<string, Scratch>();
  /** Exports that are open, by token; null for those that leave nothing behind. */
  readonly #open = new Map<number, Scratch | null>();
  #isClosed = false;
  #next = 1;

  constructor(parts: ExportsParts) {
    this.#parts = parts;
  }

  list(): Promise<readonly NbdListed[]> {
    const { view } = this.#parts;
    const live = readyDisks(view).map((disk) => ({ name: disk.name, description: describedDisk(view, disk) }));
    const points = view.machines().flatMap((machine) => view.pointsOf(machine.id).filter(isReadable));
    const kept = points.flatMap((point) =>
      point.disks
        .filter(({ excluded }) => !excluded)
        .map((disk) => ({ name: pointName(view, point, disk), description: describedPoint(point) })),
    );
    return Promise.resolve([...live, ...kept]);
  }

  async open(name: string): Promise<NbdExport | null> {
    try {
      if (name.startsWith(scratchPrefix)) return await this.#openScratch(name.slice(scratchPrefix.length));
      const parts = name.split('/');
      return parts.length < 3 ? this.#openDisk(name, parts) : this.#openPoint(name);
    } catch (error) {
      if (unknownCodes.some((code) => isStillpointError(error, code))) return null;
      throw error;
    }
  }

  closed(token: number): void {
    const scratch = this.#open.get(token);
    this.#open.delete(token);
    if (scratch === undefined || scratch === null) return;
    scratch.users -= 1;
    if (scratch.users === 0) this.#throwAway(scratch);
  }

  /** Nobody has any export open any more. */
  closeAll(): void {
    this.#isClosed = true;
    for (const token of [...this.#open.keys()]) this.closed(token);
  }

  #openDisk(name: string, [first = '', role]: readonly string[]): NbdExport | null {
    const { view } = this.#parts;
    const all = readyDisks(view);
    const machine = role === undefined ? undefined : view.machineNamed(first);
    const isMeant = (disk: ManagedDiskRecord): boolean => {
      if (name === '') return all.length === 1;
      if (role === undefined) return isSameName(disk.name, name);
      return disk.machineId === machine?.id && isSameName(disk.role, role);
    };
    const disk = all.find(isMeant);
    if (disk === undefined) return null;
    const description = describedDisk(view, disk);
    return this.#opened({ name: disk.name, description, diskId: disk.id, pointId: null, bitmaps: [] }, null);
  }

  #openPoint(name: string): NbdExport {
    const { view } = this.#parts;
    const { point, disk } = this.#pointDisk(name);
    const found = { name: pointName(view, point, disk), description: describedPoint(point) };
    const bitmaps = bitmapsOf(view, point, disk);
    return this.#opened({ ...found, diskId: disk.id, pointId: point.id, bitmaps }, null);
  }

  async #openScratch(name: string): Promise<NbdExport> {
    const { view, disks, readOnly } = this.#parts;
    if (readOnly) {
      throw new StillpointError('STORE_READ_ONLY', 'a store that is open for reading only makes no scratch copies');
    }
    const { point, disk } = this.#pointDisk(name);
    const full = `${scratchPrefix}${pointName(view, point, disk)}`;
    const reference: DiskReference = { pointId: point.id, diskId: disk.id };
    let scratch = this.#scratches.get(full);
    if (scratch === undefined) {
      scratch = { name: full, made: disks.makeScratch(reference, disk.sizeBytes, disk.sectorBytes), users: 0 };
      this.#scratches.set(full, scratch);
    }
    scratch.users += 1;
    try {
      const made = await scratch.made;
      if (this.#isClosed) throw new StillpointError('CANCELLED', 'the server was stopped');
      const description = `a writable copy of ${describedPoint(point)}, thrown away with its last client`;
      return this.#opened({ name: full, description, diskId: made.id, pointId: null, bitmaps: [] }, scratch);
    } catch (error) {
      scratch.users -= 1;
      if (scratch.users === 0 && this.#scratches.get(full) === scratch) this.#throwAway(scratch);
      throw error;
    }
  }

  #pointDisk(name: string): { readonly point: PointRecord; readonly disk: PointDisk } {
    const { view } = this.#parts;
    const end = name.lastIndexOf('/');
    const point = readablePoint(view, name.slice(0, Math.max(end, 0)));
    return { point, disk: findDisk(view, point, name.slice(end + 1)) };
  }

  #opened(found: Omit<NbdExport, 'token'>, scratch: Scratch | null): NbdExport {
    const token = this.#next;
    this.#next += 1;
    this.#open.set(token, scratch);
    return { ...found, token };
  }

  #throwAway(scratch: Scratch): void {
    this.#scratches.delete(scratch.name);
    void this.#parts.background.run(async () => this.#parts.disks.removeScratch(await scratch.made));
  }
}

function readyDisks(view: CatalogView): ManagedDiskRecord[] {
  return view.disks().flatMap((disk) => (disk.kind === 'managed' && disk.state === 'ready' ? [disk] : []));
}

function isReadable(point: PointRecord): boolean {
  return point.state === 'cut' || point.state === 'copied';
}

function pointName(view: CatalogView, point: PointRecord, disk: PointDisk): string {
  return `${view.referenceOf(point)}/${disk.role}`;
}

function describedDisk(view: CatalogView, disk: ManagedDiskRecord): string {
  const machine = disk.machineId === null ? undefined : view.machine(disk.machineId);
  return machine === undefined ? 'a detached disk' : `the disk ${disk.role} of ${machine.name}`;
}

function describedPoint(point: PointRecord): string {
  return `a restore point of ${new Date(point.createdMs).toISOString()}`;
}

/**
 * The points since which the changes of a disk can be told: all others that have it. By their names, where the machine has one
 * point of that name only, and by `COLLECTION/NAME`.
 */
function bitmapsOf(view: CatalogView, point: PointRecord, disk: PointDisk): NbdExport['bitmaps'] {
  const has = ({ disks }: PointRecord): boolean => disks.some(({ id, excluded }) => id === disk.id && !excluded);
  const others = view
    .pointsOf(point.machineId)
    .filter((each) => each.id !== point.id && isReadable(each) && has(each))
    .sort((left, right) => right.sequence - left.sequence);
  const parent = others.find(({ sequence }) => sequence < point.sequence);
  const listed = new Set([parent, ...others.slice(0, listedBitmapsMax)]);
  const counts = new Map<string, number>();
  for (const { name } of others) counts.set(folded(name), (counts.get(folded(name)) ?? 0) + 1);
  return others.flatMap((each) => {
    const collection = view.collection(each.collectionId)?.name ?? '';
    const isAlone = counts.get(folded(each.name)) === 1;
    const full = { name: `${collection}/${each.name}`, pointId: each.id, isListed: !isAlone && listed.has(each) };
    return isAlone ? [{ name: each.name, pointId: each.id, isListed: listed.has(each) }, full] : [full];
  });
}
