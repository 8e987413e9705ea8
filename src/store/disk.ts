/** The handle of a managed disk: checks ranges, then hands bytes to the engine. */

import type { Readable, Writable } from 'node:stream';

import type { ManagedDiskRecord } from '../catalog/record.js';
import type { CatalogView } from '../catalog/view.js';
import type { Coordinator } from '../coordinator/coordinator.js';
import { checkGoing } from '../coordinator/gate.js';
import { callBytesMax, diskBytesMax } from '../coordinator/limits.js';
import { failedLogOfDisk } from '../coordinator/unavailable.js';
import type { DiskOperation, Engine } from '../native/engine.js';
import {
  diskLimits as checkedLimits,
  invalid,
  members,
  signal as checkedSignal,
  text,
  truth,
  wholeNumber,
} from './checks.js';
import type {
  AttachOptions,
  Disk,
  DiskCallOptions,
  DiskInfo,
  DiskLimitsRequest,
  DiskWriteOptions,
  ReadStreamOptions,
  WriteStreamOptions,
} from './disk-handle.js';
import { diskReadable, DiskWritable } from './disk-streams.js';
import { isStillpointError, StillpointError } from './errors.js';
import { presentUnavailable } from './present.js';
import type { RunningCalls } from './running-calls.js';
import type { DiskId } from './units.js';

/** Options that were left out. */
const none: DiskWriteOptions = {};

/** What a disk handle needs of its store. */
export interface DiskParts {
  readonly engine: Engine;
  readonly view: CatalogView;
  readonly coordinator: Coordinator;
  readonly calls: RunningCalls;
}

const noLimits = { operationsPerSecond: null, bytesPerSecond: null };

/** What a record says to callers. */
export function presentDisk(view: CatalogView, engine: Engine, disk: ManagedDiskRecord): DiskInfo {
  const { id, name, kind, role, machineId, sizeBytes, sectorBytes, generation, createdMs, limits } = disk;
  const machine = machineId === null ? null : (view.machine(machineId)?.name ?? null);
  const waiting = presentUnavailable(failedLogOfDisk(engine, disk));
  const rates = limits ?? noLimits;
  return { id, name, kind, role, machine, sizeBytes, sectorBytes, generation, createdMs, limits: rates, ...waiting };
}

/** A disk of an open store. */
export class OpenDisk implements Disk {
  readonly id: DiskId;
  readonly name: string;
  readonly #parts: DiskParts;

  constructor(parts: DiskParts, { id, name }: ManagedDiskRecord) {
    this.#parts = parts;
    this.id = id;
    this.name = name;
  }

  get info(): DiskInfo {
    return presentDisk(this.#parts.view, this.#parts.engine, this.#record());
  }

  toJSON(): DiskInfo {
    return this.info;
  }

  read(offset: number, lengthOrBuffer: number | Uint8Array, options: DiskCallOptions = none): Promise<Uint8Array> {
    return this.#call(options, async (disk) => {
      const isLength = typeof lengthOrBuffer === 'number';
      const length = isLength ? lengthOrBuffer : checkedBytes('buffer', lengthOrBuffer).length;
      checkRange(disk, offset, length);
      const buffer = isLength ? new Uint8Array(length) : lengthOrBuffer;
      if (length > 0) await this.#parts.engine.readDisk(this.id, offset, buffer, options.signal);
      return buffer;
    });
  }

  write(offset: number, bytes: Uint8Array, options: DiskWriteOptions = none): Promise<string> {
    return this.#change(options, (disk, fua) => {
      checkRange(disk, offset, checkedBytes('bytes', bytes).length);
      return this.#parts.engine.writeDisk(this.id, offset, bytes, fua, options.signal);
    });
  }

  writeZeroes(offset: number, length: number, options: DiskWriteOptions = none): Promise<string> {
    return this.#change(options, (disk, fua) => {
      checkRange(disk, offset, length, Number.MAX_SAFE_INTEGER);
      return this.#parts.engine.zeroDisk(this.id, offset, length, { trim: false, fua }, options.signal);
    });
  }

  trim(offset: number, length: number, options: DiskWriteOptions = none): Promise<string> {
    return this.#change(options, (disk, fua) => {
      checkRange(disk, offset, length, Number.MAX_SAFE_INTEGER);
      return this.#parts.engine.zeroDisk(this.id, offset, length, { trim: true, fua }, options.signal);
    });
  }

  flush(options: DiskCallOptions = none): Promise<void> {
    return this.#call(options, () => this.#parts.engine.flushDisk(this.id, options.signal));
  }

  batch(operations: readonly DiskOperation[], options: DiskCallOptions = none): Promise<void> {
    return this.#call(options, async (disk) => {
      checkOperations(disk, operations);
      if (operations.length > 0) await this.#parts.engine.batchDisk(this.id, operations, options.signal);
    });
  }

  grow(sizeBytes: number): Promise<DiskInfo> {
    return this.#manage(({ disks }) =>
      disks.grow(this.#record().name, wholeNumber('sizeBytes', sizeBytes, 1, diskBytesMax)),
    );
  }

  attach(machine: string, role?: string, options: AttachOptions = {}): Promise<DiskInfo> {
    return this.#manage(({ disks }) => {
      const given = members('options', options, ['limits']);
      const limits = given['limits'] === undefined ? null : checkedLimits('limits', given['limits']);
      const wanted = role === undefined ? null : text('role', role);
      return disks.attach(text('machine', machine), this.#record().name, wanted, limits);
    });
  }

  setLimits(limits: DiskLimitsRequest): Promise<DiskInfo> {
    return this.#manage(({ disks }) => disks.setLimits(this.#record().name, checkedLimits('limits', limits)));
  }

  detach(): Promise<DiskInfo> {
    return this.#manage(({ disks }) => disks.detach(this.#record().name));
  }

  delete(): Promise<void> {
    return this.#parts.calls.run(async () => {
      this.#checkWritable();
      await this.#parts.coordinator.disks.delete(this.#record().name);
    });
  }

  readStream(options: ReadStreamOptions = {}): Readable {
    const given = members('options', options, ['start', 'end', 'signal']);
    const disk = this.#record();
    const start = wholeNumber('start', given['start'] ?? 0, 0, disk.sizeBytes);
    const end = wholeNumber('end', given['end'] ?? disk.sizeBytes, start, disk.sizeBytes);
    checkAligned(disk, 'start', start);
    checkAligned(disk, 'end', end);
    return diskReadable(this, start, end, checkedSignal(options.signal));
  }

  writeStream(options: WriteStreamOptions = {}): Writable {
    const given = members('options', options, ['start', 'signal']);
    const disk = this.#record();
    const start = wholeNumber('start', given['start'] ?? 0, 0, disk.sizeBytes);
    checkAligned(disk, 'start', start);
    return new DiskWritable(this, start, disk.sectorBytes, checkedSignal(options.signal));
  }

  #record(): ManagedDiskRecord {
    const disk = this.#parts.view.disk(this.id);
    if (disk?.kind === 'managed') return disk;
    throw new StillpointError('DISK_NOT_FOUND', `the disk ${this.name} was deleted`, { disk: this.name });
  }

  #checkWritable(): void {
    if (!this.#parts.engine.readOnly) return;
    throw new StillpointError('STORE_READ_ONLY', 'the store is open for reading only, which shows no live data');
  }

  #call<T>(options: DiskCallOptions, call: (disk: ManagedDiskRecord) => Promise<T>): Promise<T> {
    return this.#parts.calls.run(async () => {
      this.#checkWritable();
      if (options !== none) members('options', options, ['signal', 'fua']);
      checkGoing(checkedSignal(options.signal));
      try {
        return await call(this.#record());
      } catch (error) {
        // The caller has the error at once; what nobody needs is collected meanwhile.
        if (isStillpointError(error, 'NO_SPACE')) this.#parts.coordinator.relief.refused();
        throw error;
      }
    });
  }

  #change(
    options: DiskWriteOptions,
    change: (disk: ManagedDiskRecord, fua: boolean) => Promise<string>,
  ): Promise<string> {
    return this.#call(options, (disk) => change(disk, truth('fua', options.fua, false)));
  }

  #manage(change: (coordinator: Coordinator) => Promise<ManagedDiskRecord>): Promise<DiskInfo> {
    const { calls, coordinator, engine, view } = this.#parts;
    return calls.run(async () => {
      this.#checkWritable();
      return presentDisk(view, engine, await change(coordinator));
    });
  }
}

function checkedBytes(option: string, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw invalid(option, value, 'a Uint8Array');
}

function checkAligned({ sectorBytes, name }: ManagedDiskRecord, option: string, value: number): void {
  if (value % sectorBytes === 0) return;
  throw invalid(option, value, `a multiple of the sector size of ${name}, ${sectorBytes}`);
}

function checkRange(disk: ManagedDiskRecord, offset: unknown, length: unknown, lengthMax: number = callBytesMax): void {
  const { sizeBytes } = disk;
  const from = wholeNumber('offset', offset, 0, Number.MAX_SAFE_INTEGER);
  const bytes = wholeNumber('length', length, 0, lengthMax);
  checkAligned(disk, 'offset', from);
  checkAligned(disk, 'length', bytes);
  if (from + bytes > sizeBytes) {
    const message = `${bytes} bytes from ${from} reach past the end of ${disk.name} at ${sizeBytes}`;
    throw new StillpointError('ARGUMENT_INVALID', message, { offset: from, length: bytes, sizeBytes });
  }
}

function checkOperations(disk: ManagedDiskRecord, operations: unknown): void {
  if (!Array.isArray(operations)) throw invalid('operations', operations, 'an array');
  let total = 0;
  for (const [index, operation] of (operations as readonly unknown[]).entries()) {
    const option = `operations[${index}]`;
    const given = members(option, operation, ['kind', 'offset', 'length', 'bytes', 'buffer', 'fua']);
    switch (given['kind']) {
      case 'read':
      case 'write': {
        const name = given['kind'] === 'read' ? 'buffer' : 'bytes';
        const { length } = checkedBytes(`${option}.${name}`, given[name]);
        truth(`${option}.fua`, given['fua'], false);
        checkRange(disk, given['offset'], length);
        total += length;
        break;
      }
      case 'zero':
      case 'trim':
        checkRange(disk, given['offset'], given['length'], Number.MAX_SAFE_INTEGER);
        break;
      case 'flush':
        break;
      default:
        throw invalid(`${option}.kind`, given['kind'], 'one of read, write, zero, trim, flush');
    }
  }
  if (total > callBytesMax) throw invalid('operations', operations, `of at most ${callBytesMax} bytes together`);
}
