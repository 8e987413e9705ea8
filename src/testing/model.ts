/**
 * The simplest store that can be right: disks are byte arrays, points are copies of them.
 *
 * Compare a real store with it after every step of a history.
 */

/** A point as it must read back. */
export interface ModelPoint {
  readonly name: string;
  /** By role; an excluded disk is missing. */
  readonly disks: ReadonlyMap<string, Uint8Array>;
}

/** The disks of one machine and its restore points. */
export class DiskModel {
  readonly #disks = new Map<string, Uint8Array>();
  readonly #points: ModelPoint[] = [];

  /** Roles of the disks. */
  get roles(): readonly string[] {
    return [...this.#disks.keys()];
  }

  /** The points, oldest first. */
  get points(): readonly ModelPoint[] {
    return this.#points;
  }

  /** A disk as it is now. */
  disk(role: string): Uint8Array {
    const bytes = this.#disks.get(role);
    if (bytes === undefined) throw new TypeError(`the model has no disk ${role}`);
    return bytes;
  }

  /** Adds a disk, or replaces all of it. */
  setDisk(role: string, bytes: Uint8Array): void {
    this.#disks.set(role, bytes.slice());
  }

  /** Writes into a disk; the range lies inside it. */
  write(role: string, offset: number, bytes: Uint8Array): void {
    this.disk(role).set(bytes, offset);
  }

  /** Makes a range of a disk read as zero. */
  zero(role: string, offset: number, length: number): void {
    this.disk(role).fill(0, offset, offset + length);
  }

  /** Grows (with zeros) or shrinks a disk. */
  resize(role: string, length: number): void {
    const resized = new Uint8Array(length);
    resized.set(this.disk(role).subarray(0, length));
    this.#disks.set(role, resized);
  }

  /** Makes a point of all disks but the excluded ones. */
  capture(name: string, exclude: readonly string[] = []): void {
    const kept = [...this.#disks].filter(([role]) => !exclude.includes(role));
    this.#points.push({ name, disks: new Map(kept.map(([role, bytes]) => [role, bytes.slice()])) });
  }

  /** Removes a point. */
  delete(name: string): void {
    const index = this.#points.findIndex((point) => point.name === name);
    if (index >= 0) this.#points.splice(index, 1);
  }
}
