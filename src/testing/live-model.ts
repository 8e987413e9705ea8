/** The simplest store of managed disks that can be right: disks are byte arrays, and so is everything that points keep. */

import type { ModelPoint } from './model.js';

/** A live disk. */
export interface ModelDisk {
  readonly name: string;
  readonly id: string;
  /** Its role in the machine; null while it is detached. */
  role: string | null;
  bytes: Uint8Array;
}

/** What all disks of the machine were after a write. */
export interface ModelMoment {
  readonly lsn: string;
  readonly disks: ReadonlyMap<ModelDisk, Uint8Array>;
}

/** Moments that are remembered. */
const momentsMax = 16;

/** The managed disks of a store, one machine, and its restore points. */
export class LiveModel {
  readonly #disks = new Map<string, ModelDisk>();
  /** In the order of their roles' attachment. */
  #attached: ModelDisk[] = [];
  readonly points: (ModelPoint & { readonly names: ReadonlyMap<string, string> })[] = [];
  /** The newest of them; nothing that happens to disks later changes them. */
  moments: ModelMoment[] = [];

  /** All disks, in the order of their making. */
  get disks(): readonly ModelDisk[] {
    return [...this.#disks.values()];
  }

  /** The machine's disks. */
  get attached(): readonly ModelDisk[] {
    return this.#attached;
  }

  add(name: string, id: string, bytes: Uint8Array): void {
    this.#disks.set(name, { name, id, role: null, bytes: bytes.slice() });
  }

  remove(disk: ModelDisk): void {
    this.#disks.delete(disk.name);
  }

  attach(disk: ModelDisk, role: string): void {
    disk.role = role;
    this.#attached.push(disk);
  }

  detach(disk: ModelDisk): void {
    disk.role = null;
    this.#attached = this.#attached.filter((each) => each !== disk);
  }

  write(disk: ModelDisk, offset: number, bytes: Uint8Array): void {
    disk.bytes = disk.bytes.slice();
    disk.bytes.set(bytes, offset);
  }

  grow(disk: ModelDisk, sizeBytes: number): void {
    const grown = new Uint8Array(sizeBytes);
    grown.set(disk.bytes);
    disk.bytes = grown;
  }

  /** Remembers what the machine's disks are now, as of a record of its log. */
  remember(lsn: string): void {
    const disks = new Map(this.#attached.map((disk) => [disk, disk.bytes]));
    this.moments = [...this.moments.slice(1 - momentsMax), { lsn, disks }];
  }

  /** Makes a point of all disks of the machine but the excluded one. */
  capture(name: string, excluded: string | null): void {
    const kept = this.#attached.filter(({ role }) => role !== excluded);
    this.points.push({
      name,
      disks: new Map(kept.map(({ role, bytes }) => [role ?? '', bytes])),
      names: new Map(kept.map((disk) => [disk.role ?? '', disk.name])),
    });
  }

  deletePoint(name: string): void {
    const index = this.points.findIndex((point) => point.name === name);
    if (index >= 0) this.points.splice(index, 1);
  }
}
