/** Managed disks of the fake library: names and sizes, no bytes. */

import { Readable, Writable } from 'node:stream';

import type { AttachOptions, Disk, DiskInfo, DiskLimitsRequest } from '../../src/index.js';
import { StillpointError } from '../../src/store/errors.js';
import type { FakeStoreState } from './fake-world.js';

/** A disk as it is at first. */
export type NewDiskInfo = Pick<
  DiskInfo,
  'id' | 'name' | 'role' | 'machine' | 'sizeBytes' | 'sectorBytes' | 'createdMs'
>;

const same = (left: string, right: string): boolean => left.toLowerCase() === right.toLowerCase();

/** Adds a disk. */
export function addDisk(state: FakeStoreState, disk: NewDiskInfo): DiskInfo {
  if (state.disks.some(({ name }) => same(name, disk.name))) {
    throw new StillpointError('DISK_EXISTS', `there is a disk ${disk.name} already`, { disk: disk.name });
  }
  const { id, name, role, machine, sizeBytes, sectorBytes, createdMs } = disk;
  const info: DiskInfo = {
    id,
    name,
    kind: 'managed',
    role,
    machine,
    sizeBytes,
    sectorBytes,
    generation: machine === null ? 1 : 2,
    createdMs,
    limits: { operationsPerSecond: null, bytesPerSecond: null },
  };
  state.disks.push(info);
  return info;
}

/** A handle of a disk. */
export class FakeDisk implements Disk {
  readonly name: string;
  readonly #state: FakeStoreState;

  constructor(state: FakeStoreState, name: string) {
    this.#state = state;
    this.name = name;
  }

  get info(): DiskInfo {
    const info = this.#state.disks.find(({ name }) => same(name, this.name));
    if (info !== undefined) return info;
    throw new StillpointError('DISK_NOT_FOUND', `there is no managed disk "${this.name}"`, { disk: this.name });
  }

  get id(): DiskInfo['id'] {
    return this.info.id;
  }

  async read(): Promise<Uint8Array> {
    return new Uint8Array();
  }

  async write(): Promise<string> {
    return '1';
  }

  async writeZeroes(): Promise<string> {
    return '1';
  }

  async trim(): Promise<string> {
    return '1';
  }

  async flush(): Promise<void> {
    return undefined;
  }

  async batch(): Promise<void> {
    return undefined;
  }

  async grow(sizeBytes: number): Promise<DiskInfo> {
    return this.#change({ sizeBytes });
  }

  async attach(machine: string, role: string = this.info.role, options: AttachOptions = {}): Promise<DiskInfo> {
    if (options.limits !== undefined) await this.setLimits(options.limits);
    const found = this.#state.machines.find(({ name }) => same(name, machine));
    if (found === undefined)
      throw new StillpointError('MACHINE_NOT_FOUND', `there is no machine ${machine}`, { machine });
    if (found.kind === 'external') {
      const message = `the disks of ${found.name} are external: someone else writes them`;
      throw new StillpointError('MACHINE_NOT_MANAGED', message, { machine: found.name });
    }
    return this.#change({ machine: found.name, role, generation: this.info.generation + 1 });
  }

  async setLimits({ operationsPerSecond, bytesPerSecond }: DiskLimitsRequest): Promise<DiskInfo> {
    const limits = {
      operationsPerSecond: operationsPerSecond ?? null,
      bytesPerSecond: bytesPerSecond ?? null,
    };
    return this.#change({ limits });
  }

  async detach(): Promise<DiskInfo> {
    return this.#change({ machine: null, generation: this.info.generation + 1 });
  }

  async delete(): Promise<void> {
    const { machine } = this.info;
    if (machine !== null) {
      const message = `the disk ${this.name} is attached to ${machine}`;
      throw new StillpointError('DISK_ATTACHED', message, { disk: this.name, machine });
    }
    this.#state.disks.splice(this.#state.disks.indexOf(this.info), 1);
  }

  readStream(): Readable {
    return Readable.from([]);
  }

  writeStream(): Writable {
    return new Writable();
  }

  #change(change: Partial<DiskInfo>): DiskInfo {
    const { info } = this;
    const changed = { ...info, ...change };
    this.#state.disks.splice(this.#state.disks.indexOf(info), 1, changed);
    return changed;
  }
}
