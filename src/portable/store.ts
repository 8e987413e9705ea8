/** The portable reader's handle on a store, and the checks of its callers' arguments. */

import { resolve } from 'node:path';

import { objectIdFrom } from './brands.js';
import { diskExtents, readBytes, type DiskExtent } from './disk-reader.js';
import { PortableError } from './errors.js';
import { findDisk, findPoint, type PortablePoint, type StoredPoint } from './point.js';
import type { PortableProblem } from './problem.js';
import { writeNewFile, type LongCallOptions, type RestoreSummary } from './restore.js';
import { loadSnapshot, type Snapshot } from './snapshot.js';
import { verifyStore } from './verify.js';

/**
 * A store that was opened with {@link openPortable}.
 *
 * It shows the store as it was when it was opened. `point` is a point's id, `MACHINE/COLLECTION/POINT` or
 * `MACHINE/POINT`; `disk` is a disk's role or id. Offsets, lengths and sizes are bytes. Bytes that a call gives out
 * were proven by their chunk's id; where that fails the call rejects, and no wrong byte is ever given out.
 *
 * Reading rejects with `POINT_NOT_FOUND`, `NAME_AMBIGUOUS`, `MANIFEST_DAMAGED`, `DISK_NOT_FOUND`, `CHUNK_DAMAGED`,
 * `CHUNK_MISSING`, `NODE_DAMAGED`, `NODE_MISSING`, `STORE_NEWER_FORMAT`, `IO_FAILED`, `STORE_CLOSED`.
 */
export interface PortableStore {
  /** The store's directory. */
  readonly path: string;
  readonly storeId: string;
  readonly createdMs: number;
  readonly chunkBytes: number;

  /** The restore points whose manifests are valid, in the order of their cuts. */
  points(): readonly PortablePoint[];

  /** What was found wrong on opening: damaged manifests, config copies, pack headers and trailers. */
  problems(): readonly PortableProblem[];

  /**
   * Reads bytes [offset, offset + length) of a disk. Cost: the chunks that the range touches.
   *
   * Rejects with `ARGUMENT_INVALID` when the range is not within the disk.
   */
  readDisk(point: string, disk: string, offset: number, length: number): Promise<Uint8Array>;

  /**
   * Streams a whole disk: extents in order that cover it without a gap. Neighbouring ranges that read as zero come as
   * one extent; data comes at most one chunk at a time, in an array that is the caller's to keep.
   */
  diskStream(point: string, disk: string): AsyncIterable<DiskExtent>;

  /**
   * Writes a disk to a new file, sparse where it reads as zero.
   *
   * Once it resolves, the file is complete and durable under its name. Otherwise nothing has that name, and the
   * temporary file beside it is removed.
   *
   * Rejects with `TARGET_EXISTS`, `CANCELLED`, `IO_FAILED` too.
   */
  restoreDisk(point: string, disk: string, targetPath: string, options?: LongCallOptions): Promise<RestoreSummary>;

  /**
   * Checks every frame of every pack, every node of every disk and every manifest of the store as it is now; resolves
   * to what is wrong, and what of which disks it hits. Cost: reads and decodes the whole store.
   *
   * Rejects with what {@link openPortable} rejects with, and with `CANCELLED`.
   */
  verify(options?: LongCallOptions): Promise<readonly PortableProblem[]>;

  /** Closes the pack files. Calls that read content reject with `STORE_CLOSED` afterwards. */
  close(): Promise<void>;
}

/**
 * Opens a store directory for reading, without the engine: config, manifests and packs only. Writes nothing and takes
 * no lock, so it works on a read-only medium and beside a writer.
 *
 * Rejects with `STORE_NOT_FOUND`, `STORE_NEWER_FORMAT`, `STORE_DAMAGED` (no valid copy of config), `IO_FAILED`.
 *
 * ```ts
 * const store = await openPortable('/backups/store');
 * for (const point of store.points()) console.log(point.machine.name, point.name);
 * await store.restoreDisk('web1/rp1', 'os', 'os.raw');
 * ```
 */
export async function openPortable(path: string): Promise<PortableStore> {
  if (typeof path !== 'string' || path === '') {
    throw new PortableError('ARGUMENT_INVALID', 'the path of a store is a text that is not empty');
  }
  const absolute = resolve(path);
  return new OpenStore(absolute, await loadSnapshot(absolute));
}

class OpenStore implements PortableStore {
  readonly path: string;
  readonly #snapshot: Snapshot;
  #closed = false;

  constructor(path: string, snapshot: Snapshot) {
    this.path = path;
    this.#snapshot = snapshot;
  }

  get storeId(): string {
    return this.#snapshot.config.storeId;
  }

  get createdMs(): number {
    return this.#snapshot.config.createdMs;
  }

  get chunkBytes(): number {
    return this.#snapshot.config.chunkBytes;
  }

  points(): readonly PortablePoint[] {
    return this.#snapshot.points.map((point) => point.listed);
  }

  problems(): readonly PortableProblem[] {
    return this.#snapshot.problems;
  }

  async readDisk(point: string, disk: string, offset: number, length: number): Promise<Uint8Array> {
    const { map } = this.#find(point, disk);
    const isRange = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
    if (!isRange || length > map.sizeBytes - offset) {
      const message = `${length} bytes at ${offset} are not within a disk of ${map.sizeBytes} bytes`;
      throw new PortableError('ARGUMENT_INVALID', message, { offset, length, sizeBytes: map.sizeBytes });
    }
    return readBytes(this.#snapshot, map, offset, length);
  }

  async *diskStream(point: string, disk: string): AsyncGenerator<DiskExtent, void, undefined> {
    const { map } = this.#find(point, disk);
    yield* diskExtents(this.#snapshot, map, 0, map.sizeBytes);
  }

  async restoreDisk(
    point: string,
    disk: string,
    targetPath: string,
    options: LongCallOptions = {},
  ): Promise<RestoreSummary> {
    const { map } = this.#find(point, disk);
    if (typeof targetPath !== 'string' || targetPath === '') {
      throw new PortableError('ARGUMENT_INVALID', 'the target of a restore is the path of a file');
    }
    const extents = diskExtents(this.#snapshot, map, 0, map.sizeBytes);
    return writeNewFile(targetPath, map.sizeBytes, extents, options);
  }

  async verify(options: LongCallOptions = {}): Promise<readonly PortableProblem[]> {
    this.#requireOpen();
    return verifyStore(this.path, options);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#snapshot.close();
  }

  #requireOpen(): void {
    if (this.#closed) throw new PortableError('STORE_CLOSED', `the store ${this.path} is closed; open it again`);
  }

  #find(point: string, disk: string): ReturnType<typeof findDisk> {
    this.#requireOpen();
    if (typeof point !== 'string' || typeof disk !== 'string') {
      throw new PortableError('ARGUMENT_INVALID', 'points and disks are named by texts');
    }
    return findDisk(this.#findPoint(point), disk);
  }

  /** A point whose manifest is damaged is not the same as one that never was. */
  #findPoint(reference: string): StoredPoint {
    try {
      return findPoint(this.#snapshot.points, reference);
    } catch (error) {
      const file = objectIdFrom(reference) === null ? null : `/${reference}.manifest`;
      const problem = file === null ? undefined : this.#snapshot.problems.find((each) => each.file.endsWith(file));
      if (problem === undefined) throw error;
      throw new PortableError(problem.code, problem.message, { point: reference, file: problem.file }, error);
    }
  }
}
