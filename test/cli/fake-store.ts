/** The store of the fake library: it keeps the promises of docs/api.md that the command line relies on. */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { StillpointError } from '../../src/store/errors.js';
import type {
  CapturedPoint,
  Disk,
  DiskInfo,
  DiskRequest,
  ExternalDiskRequest,
  Finding,
  LongCallOptions,
  MomentOption,
  NbdServer,
  RestoredDisk,
  RestorePoint,
  Store,
  VirtualMachine,
  VirtualMachineDisk,
  VirtualMachineHandle,
} from '../../src/index.js';
import type { Json } from '../../src/catalog/json.js';
import { toDiskId, toMachineId, toPointId } from '../../src/store/units.js';
import { addDisk, FakeDisk } from './fake-disk.js';
import { mebibyte, type FakeStoreState, type FakeWorld } from './fake-world.js';

type Arguments<Name extends 'capture' | 'diff' | 'restore' | 'restoreDisks' | 'verify' | 'collect'> = Parameters<
  Store[Name]
>;

const same = (left: string, right: string): boolean => left.toLowerCase() === right.toLowerCase();

/** A value as the JSON that a configuration file holds. */
const json = (value: unknown): Json => value as Json;

export class FakeStore implements Store {
  readonly readOnly: boolean;
  readonly #world: FakeWorld;
  readonly #path: string;
  readonly #state: FakeStoreState;

  constructor(world: FakeWorld, path: string, state: FakeStoreState, readOnly: boolean) {
    this.#world = world;
    this.#path = path;
    this.#state = state;
    this.readOnly = readOnly;
  }

  get info(): Store['info'] {
    return this.#state.info;
  }

  get findings(): readonly Finding[] {
    return this.#world.findings.map((finding) => ({ ...finding, hits: [] }));
  }

  async createVirtualMachine(
    request: Parameters<Store['createVirtualMachine']>[0],
    options: LongCallOptions = {},
  ): Promise<VirtualMachineHandle> {
    this.#writable();
    if (this.#state.machines.some((machine) => same(machine.name, request.name))) {
      throw new StillpointError('MACHINE_EXISTS', `there is a machine ${request.name} already`, {
        machine: request.name,
      });
    }
    const asked = Array.isArray(request.disks) ? (request.disks as readonly DiskRequest[]) : [];
    const machine: VirtualMachine = {
      id: toMachineId(this.#world.id()),
      name: request.name,
      kind: asked.some((disk) => 'external' in disk) ? 'external' : 'managed',
      subscription: request.subscription ?? '00000000-0000-0000-0000-000000000000',
      resourceGroup: request.resourceGroup ?? 'default',
      configuration: json(request.configuration ?? null),
      disks: asked.flatMap((disk) => ('external' in disk ? [this.#disk(request.name, disk)] : [])),
      createdMs: this.#world.clock.nowMs(),
    };
    this.#state.machines.push(machine);
    for (const disk of asked) {
      if (!('import' in disk)) continue;
      const sizeBytes = await this.#sizeOf(request.name, disk.role, disk.import);
      await this.#work(sizeBytes, options, 800 * mebibyte);
      this.#addDisk(`${request.name}-${disk.role}`, disk.role, request.name, sizeBytes, disk.sectorBytes ?? 512);
    }
    return this.virtualMachine(request.name);
  }

  async updateVirtualMachine(
    name: string,
    change: Parameters<Store['updateVirtualMachine']>[1],
  ): Promise<VirtualMachineHandle> {
    this.#writable();
    const machine = this.#machine(name);
    const paths = change.paths ?? {};
    const kept = machine.disks
      .filter((disk) => !(change.removeDisks ?? []).includes(disk.role))
      .map((disk) => ({ ...disk, source: paths[disk.role] ?? disk.source }));
    const added = (change.addDisks ?? []).map((disk) => this.#disk(machine.name, disk));
    const configuration = 'configuration' in change ? json(change.configuration) : machine.configuration;
    const changed: VirtualMachine = { ...machine, disks: [...kept, ...added], configuration };
    this.#state.machines.splice(this.#state.machines.indexOf(machine), 1, changed);
    return this.virtualMachine(name);
  }

  async deleteVirtualMachine(name: string): Promise<void> {
    this.#writable();
    const machine = this.#machine(name);
    const count = this.#pointsOf(machine.name).length;
    if (count > 0) {
      throw new StillpointError('MACHINE_NOT_EMPTY', `${machine.name} has ${count} restore points`, {
        machine: machine.name,
      });
    }
    this.#state.machines.splice(this.#state.machines.indexOf(machine), 1);
  }

  async virtualMachines(): Promise<VirtualMachine[]> {
    const names = this.#state.machines.map(({ name }) => name).sort((left, right) => left.localeCompare(right));
    return names.map((name) => this.#shown(this.#machine(name)));
  }

  async virtualMachine(name: string): Promise<VirtualMachineHandle> {
    return machineHandle(this.#shown(this.#machine(name)), (options) => this.capture(name, options));
  }

  async createDisk({ name, sizeBytes, sectorBytes, limits }: Parameters<Store['createDisk']>[0]): Promise<Disk> {
    this.#writable();
    const disk = this.#addDisk(name, name, null, sizeBytes, sectorBytes ?? 512);
    if (limits !== undefined) await disk.setLimits(limits);
    return disk;
  }

  async importDisk({ name, path, sectorBytes, ...call }: Parameters<Store['importDisk']>[0]): Promise<Disk> {
    this.#writable();
    const sizeBytes = await this.#sizeOf(name, name, path);
    await this.#work(sizeBytes, call, 800 * mebibyte);
    return this.#addDisk(name, name, null, sizeBytes, sectorBytes ?? 512);
  }

  async cloneDisk(name: string, pointDisk: string): Promise<Disk> {
    const at = pointDisk.lastIndexOf('/');
    await this.restoreToDisk(pointDisk.slice(0, at), { disk: pointDisk.slice(at + 1), name });
    return this.disk(name);
  }

  async disk(name: string): Promise<Disk> {
    const disk = new FakeDisk(this.#state, name);
    return new FakeDisk(this.#state, disk.info.name);
  }

  async disks(): Promise<DiskInfo[]> {
    return this.#state.disks.toSorted((left, right) => left.name.localeCompare(right.name));
  }

  async reopenLogs(): Promise<Finding[]> {
    return [];
  }

  async restoreToDisk(
    reference: string,
    { disk, name, at }: Parameters<Store['restoreToDisk']>[1],
  ): ReturnType<Store['restoreToDisk']> {
    this.#writable();
    const source = at === undefined ? await this.restorePoint(reference) : this.#atMoment(reference);
    const { sizeBytes, sectorBytes } = this.#diskIn(source, disk);
    return { disk: this.#addDisk(name, name, null, sizeBytes, sectorBytes).info, ...momentIn(at) };
  }

  async restoreInPlace(
    reference: string,
    { disks, at }: NonNullable<Parameters<Store['restoreInPlace']>[1]> = {},
  ): ReturnType<Store['restoreInPlace']> {
    this.#writable();
    const source = at === undefined ? await this.restorePoint(reference) : this.#atMoment(reference);
    const roles = disks?.map((role) => this.#diskIn(source, role).role) ?? source.disks.map(({ role }) => role);
    return { machine: source.machine, disks: roles, lsn: '81920', ...momentIn(at) };
  }

  async restoreToMachine(
    reference: string,
    { name, at }: Parameters<Store['restoreToMachine']>[1],
  ): ReturnType<Store['restoreToMachine']> {
    this.#writable();
    const source = at === undefined ? await this.restorePoint(reference) : this.#atMoment(reference);
    const { configuration } = source;
    await this.createVirtualMachine({ name, disks: {}, configuration });
    for (const { role, sizeBytes, sectorBytes } of source.disks)
      this.#addDisk(`${name}-${role}`, role, name, sizeBytes, sectorBytes);
    return { machine: this.#shown(this.#machine(name)), ...momentIn(at) };
  }

  async holdPoint(reference: string, reason: string): Promise<RestorePoint> {
    this.#writable();
    const hold = { reason, createdMs: this.#world.clock.nowMs() };
    return this.#replacePoint(await this.restorePoint(reference), { hold });
  }

  async unholdPoint(reference: string): Promise<RestorePoint> {
    this.#writable();
    const point = { ...(await this.restorePoint(reference)) };
    Reflect.deleteProperty(point, 'hold');
    this.#state.points.splice(
      this.#state.points.findIndex(({ id }) => id === point.id),
      1,
      point,
    );
    return point;
  }

  async *events(): ReturnType<Store['events']> & AsyncGenerator<never> {
    // Nothing happens here.
  }

  async capture(name: string, options: Arguments<'capture'>[1] = {}): Promise<CapturedPoint> {
    this.#writable();
    const machine = this.#shown(this.#machine(name));
    if (options.consistency === 'applicationConsistent') {
      throw new StillpointError('NO_WRITERS', `${machine.name} has nothing that could be frozen`, {
        machine: machine.name,
      });
    }
    const startedMs = this.#world.clock.nowMs();
    const collection = options.collection ?? 'default';
    const pointName = options.name ?? new Date(startedMs).toISOString().slice(0, 19).replaceAll(':', '-') + 'Z';
    const reference = `${machine.name}/${collection}/${pointName}`;
    if (this.#state.points.some((point) => same(point.reference, reference))) {
      throw new StillpointError('POINT_EXISTS', `there is a restore point ${reference} already`, { point: reference });
    }
    const disks: RestorePoint['disks'][number][] = [];
    for (const disk of machine.disks) {
      const excluded = (options.exclude ?? []).includes(disk.role);
      const found = disk.sizeBytes ?? (await this.#sizeOf(reference, disk.role, disk.source));
      disks.push({ ...disk, sizeBytes: excluded ? 0 : found, excluded });
    }
    if (machine.kind === 'managed') return this.#cut(machine, reference, collection, pointName, disks);
    const total = disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
    await this.#work(total, options, 800 * mebibyte);
    const isFirst = this.#pointsOf(machine.name).length === 0;
    const bytesNew = Math.floor(total / (isFirst ? 5 : 100));
    const point: RestorePoint = {
      id: toPointId(this.#world.id()),
      name: pointName,
      machine: machine.name,
      collection,
      reference,
      sequence: this.#state.points.length + 1,
      createdMs: startedMs,
      state: 'copied',
      consistency: { requested: options.consistency ?? null, reached: 'crashConsistent', writers: [] },
      configuration: machine.configuration,
      disks,
      captured: {
        startedMs,
        endedMs: this.#world.clock.nowMs(),
        bytesRead: Math.floor(total / 3),
        bytesNew,
        bytesStored: Math.floor(bytesNew / 3),
      },
    };
    this.#state.points.push(point);
    return capturedPoint(
      point,
      async () => point,
      () => 100,
    );
  }

  async restorePoints(machine?: string): Promise<RestorePoint[]> {
    if (machine === undefined) return [...this.#state.points];
    return this.#pointsOf((await this.virtualMachine(machine)).name);
  }

  async restorePoint(reference: string): Promise<RestorePoint> {
    const found = this.#state.points.filter(
      (point) => same(point.reference, reference) || same(`${point.machine}/${point.name}`, reference),
    );
    const [point] = found;
    if (point === undefined) {
      throw new StillpointError('POINT_NOT_FOUND', `there is no restore point ${reference}`, { point: reference });
    }
    if (found.length > 1) {
      throw new StillpointError('NAME_AMBIGUOUS', `${reference} names ${found.length} restore points`, {
        point: reference,
        candidates: found.map((each) => each.reference),
      });
    }
    return point;
  }

  diff(before: string, after: string, options: Arguments<'diff'>[2]): ReturnType<Store['diff']> {
    const header = async (): Promise<{ sizeBefore: number; sizeAfter: number; granularity: number }> => {
      const sizeBefore = this.#diskIn(await this.restorePoint(before), options.diskBefore ?? options.disk).sizeBytes;
      const sizeAfter = this.#diskIn(await this.restorePoint(after), options.disk).sizeBytes;
      return { sizeBefore, sizeAfter, granularity: options.granularity ?? this.info.chunkBytes };
    };
    const world = this.#world;
    const work = (bytes: number): Promise<void> => this.#work(bytes, options, 100_000 * mebibyte);
    const promise = header();
    const { chunkBytes } = this.info;
    return {
      header: promise,
      async *[Symbol.asyncIterator]() {
        const { sizeAfter } = await promise;
        await work(sizeAfter);
        if (world.extents !== null) yield* world.extents;
        else if (before !== after) {
          yield { offset: 4 * chunkBytes, length: 16 * chunkBytes, kind: 'data' as const };
          yield { offset: 20 * chunkBytes, length: chunkBytes, kind: 'zero' as const };
          yield { offset: 4096 * chunkBytes, length: 128 * chunkBytes, kind: 'data' as const };
        }
      },
    };
  }

  async read(): Promise<Uint8Array> {
    return new Uint8Array();
  }

  async restore(reference: string, options: Arguments<'restore'>[1]): ReturnType<Store['restore']> {
    const point = options.at === undefined ? await this.restorePoint(reference) : this.#atMoment(reference);
    const disk = this.#diskIn(point, options.disk);
    const { to } = options;
    if (this.#world.files.has(to) && options.overwrite !== true) {
      throw new StillpointError('TARGET_EXISTS', `there is a file ${to} already`, { path: to });
    }
    await this.#work(disk.sizeBytes, options, 1600 * mebibyte);
    const content = this.#world.contents.get(`${point.reference}/${disk.role}`);
    if (content === undefined) this.#world.files.add(to);
    else
      await writeFile(to, this.#world.corrupts ? content.subarray(1) : content, {
        flag: options.overwrite === true ? 'w' : 'wx',
      });
    return {
      sizeBytes: disk.sizeBytes,
      bytesWritten: content?.length ?? Math.floor(disk.sizeBytes / 3),
      ...momentIn(options.at),
    };
  }

  async restoreDisks(reference: string, options: Arguments<'restoreDisks'>[1]): ReturnType<Store['restoreDisks']> {
    const point = options.at === undefined ? await this.restorePoint(reference) : this.#atMoment(reference);
    const { directory, disks: roles, ...rest } = options;
    const wanted = roles?.map((role) => this.#diskIn(point, role)) ?? point.disks.filter((disk) => !disk.excluded);
    const isReal = wanted.some(({ role }) => this.#world.contents.has(`${point.reference}/${role}`));
    if (isReal) await mkdir(directory, { recursive: true });
    const disks: RestoredDisk[] = [];
    for (const { role } of wanted) {
      const to = join(directory, `${role}.${options.format ?? 'raw'}`);
      const { sizeBytes, bytesWritten } = await this.restore(reference, { ...rest, disk: role, to });
      disks.push({ disk: role, to, sizeBytes, bytesWritten });
    }
    return { disks, ...momentIn(options.at) };
  }

  async deletePoint(reference: string): Promise<void> {
    this.#writable();
    const point = await this.restorePoint(reference);
    if (point.hold !== undefined) {
      const { reason } = point.hold;
      throw new StillpointError('POINT_HELD', `${point.reference} is held: ${reason}`, {
        point: point.reference,
        reason,
      });
    }
    this.#state.points.splice(this.#state.points.indexOf(point), 1);
    this.#state.garbageBytes += point.captured.bytesStored;
  }

  async collect(options: Arguments<'collect'>[0] = {}): ReturnType<Store['collect']> {
    this.#writable();
    const bytesFreed = this.#state.garbageBytes;
    await this.#work(bytesFreed, options, 100 * mebibyte);
    if (options.dryRun !== true) this.#state.garbageBytes = 0;
    return {
      dryRun: options.dryRun === true,
      packsRemoved: Math.floor(bytesFreed / (64 * mebibyte)),
      packsRewritten: bytesFreed > 0 ? 1 : 0,
      chunksRemoved: Math.floor((3 * bytesFreed) / 65_536),
      bytesFreed,
      bytesRewritten: bytesFreed > 0 ? 12 * mebibyte : 0,
    };
  }

  async verify(options: Arguments<'verify'>[0] = {}): ReturnType<Store['verify']> {
    const stored = this.#storedBytes();
    const bytesRead = options.readData === true ? stored : Math.floor(stored / 1000);
    await this.#work(bytesRead, options, 1000 * mebibyte);
    const [point] = this.#state.points;
    const hits =
      point === undefined
        ? []
        : [
            {
              point: point.reference,
              disk: point.disks[0]?.role ?? '',
              ranges: [{ offset: 1_048_576, length: 65_536 }],
            },
          ];
    return {
      findings: options.readData === true ? this.#world.findings.map((finding) => ({ ...finding, hits })) : [],
      pointsChecked: this.#state.points.length,
      chunksChecked: options.readData === true ? Math.floor((3 * stored) / 65_536) : 0,
      bytesRead,
    };
  }

  async status(): ReturnType<Store['status']> {
    const packBytes = this.#storedBytes() + this.#state.garbageBytes;
    return {
      info: this.info,
      path: this.#path,
      readOnly: this.readOnly,
      machines: this.#state.machines.length,
      points: this.#state.points.length,
      disks: this.#state.disks.length,
      live: {
        debtBytes: 0,
        availableBytes: 349_000 * mebibyte,
        logBytes: this.#state.disks.length === 0 ? 0 : 64 * mebibyte,
        layers: 0,
      },
      packCount: Math.ceil(packBytes / (64 * mebibyte)),
      packBytes,
      indexBytes: Math.floor(packBytes / 1000),
      manifestBytes: 1024 * this.#state.points.length,
      chunkCount: Math.floor((3 * packBytes) / 65_536),
      availableBytes: 350_000 * mebibyte,
      work: this.#state.points.flatMap(({ state, machine, reference: point, completionPercent = 0 }) =>
        state === 'cut' ? [{ machine, point, state, completionPercent }] : [],
      ),
      failedLogs: [],
    };
  }

  async statistics({ machine }: Parameters<Store['statistics']>[0] = {}): ReturnType<Store['statistics']> {
    const shown = machine === undefined ? await this.virtualMachines() : [await this.virtualMachine(machine)];
    const points = shown.flatMap(({ name }) => this.#pointsOf(name));
    const figures = ({ disks, captured }: RestorePoint) => {
      const logicalBytes = disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
      const addedBytes = captured.bytesStored;
      const freedBytes = this.#state.points.length === 1 ? addedBytes : Math.floor(addedBytes / 2);
      return {
        logicalBytes,
        dataBytes: Math.floor(logicalBytes / 4),
        addedBytes,
        uniqueBytes: 3 * freedBytes,
        freedBytes,
      };
    };
    const sum = (of: readonly RestorePoint[], name: keyof ReturnType<typeof figures>): number =>
      of.reduce((all, point) => all + figures(point)[name], 0);
    const all = this.#state.points;
    const [dataBytes, storedBytes] = [sum(all, 'dataBytes'), sum(all, 'addedBytes')];
    return {
      store: {
        logicalBytes: sum(all, 'logicalBytes'),
        dataBytes,
        distinctBytes: 3 * storedBytes,
        storedBytes,
        garbageBytes: this.#state.garbageBytes,
        packBytes: storedBytes + this.#state.garbageBytes,
        indexBytes: Math.floor(storedBytes / 1000),
        manifestBytes: 1024 * all.length,
        chunks: Math.floor((3 * storedBytes) / 65_536),
        nodes: Math.floor((3 * storedBytes) / 65_536 / 64),
        missing: 0,
        deduplication: storedBytes === 0 ? null : dataBytes / (3 * storedBytes),
        compression: storedBytes === 0 ? null : 3,
      },
      machines: shown.map(({ name }) => {
        const own = this.#pointsOf(name);
        const added = sum(own, 'addedBytes');
        return {
          machine: name,
          points: own.length,
          logicalBytes: sum(own, 'logicalBytes'),
          dataBytes: sum(own, 'dataBytes'),
          distinctBytes: 3 * added,
          storedBytes: added,
          uniqueBytes: 3 * added,
          freedBytes: added,
        };
      }),
      points: points.map((point) => {
        return { point: point.reference, machine: point.machine, createdMs: point.createdMs, ...figures(point) };
      }),
    };
  }

  serveNbd(): Promise<NbdServer> {
    return Promise.reject(new TypeError('a fake store serves no clients'));
  }

  async close(): Promise<void> {
    this.#world.openCount -= 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #writable(): void {
    if (this.readOnly) throw new StillpointError('STORE_READ_ONLY', `the store ${this.#path} is open for reading only`);
  }

  #pointsOf(machine: string): RestorePoint[] {
    return this.#state.points.filter((point) => point.machine === machine);
  }

  #storedBytes(): number {
    return this.#state.points.reduce((sum, point) => sum + point.captured.bytesStored, 0);
  }

  #disk(machine: string, { role, external, sectorBytes }: ExternalDiskRequest): VirtualMachineDisk {
    return {
      id: toDiskId(this.#world.id()),
      role,
      name: `${machine}-${role}`,
      kind: 'external',
      source: external,
      sectorBytes: sectorBytes ?? 512,
    };
  }

  #machine(name: string): VirtualMachine {
    const machine = this.#state.machines.find((each) => same(each.name, name));
    if (machine !== undefined) return machine;
    throw new StillpointError('MACHINE_NOT_FOUND', `there is no machine ${name}`, { machine: name });
  }

  /** A machine with the managed disks that it has now. */
  #shown(machine: VirtualMachine): VirtualMachine {
    if (machine.kind === 'external') return machine;
    const disks = this.#state.disks
      .filter((disk) => disk.machine === machine.name)
      .map(({ id, role, name, sizeBytes, sectorBytes }): VirtualMachineDisk => {
        return { id, role, name, kind: 'managed', source: '', sizeBytes, sectorBytes };
      });
    return { ...machine, disks };
  }

  #addDisk(name: string, role: string, machine: string | null, sizeBytes: number, sectorBytes: number): FakeDisk {
    const createdMs = this.#world.clock.nowMs();
    const id = toDiskId(this.#world.id());
    return new FakeDisk(
      this.#state,
      addDisk(this.#state, { id, name, role, machine, sizeBytes, sectorBytes, createdMs }).name,
    );
  }

  /** A point that is cut, and copied when somebody waits for it. */
  #cut(
    machine: VirtualMachine,
    reference: string,
    collection: string,
    name: string,
    disks: RestorePoint['disks'],
  ): CapturedPoint {
    const createdMs = this.#world.clock.nowMs();
    const total = disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
    const nothing = { startedMs: createdMs, endedMs: createdMs, bytesRead: 0, bytesNew: 0, bytesStored: 0 };
    const point: RestorePoint = {
      id: toPointId(this.#world.id()),
      name,
      machine: machine.name,
      collection,
      reference,
      sequence: this.#state.points.length + 1,
      createdMs,
      state: 'cut',
      completionPercent: 0,
      lsn: String(4096 * (this.#state.points.length + 1)),
      consistency: { requested: null, reached: 'crashConsistent', writers: [] },
      configuration: machine.configuration,
      disks,
      captured: nothing,
    };
    this.#state.points.push(point);
    const copied = async (options: LongCallOptions = {}): Promise<RestorePoint> => {
      await this.#work(Math.floor(total / 8), options, 800 * mebibyte);
      const bytesNew = Math.floor(total / 10);
      const captured = {
        ...nothing,
        bytesRead: Math.floor(total / 8),
        bytesNew,
        bytesStored: Math.floor(bytesNew / 3),
      };
      // Older points of the machine are copied before.
      for (const each of this.#pointsOf(machine.name)) {
        if (each.state !== 'cut' || each.sequence > point.sequence) continue;
        const whole: RestorePoint = { ...each, state: 'copied', captured };
        Reflect.deleteProperty(whole, 'completionPercent');
        this.#replacePoint(each, {}, whole);
      }
      return this.restorePoint(reference);
    };
    return capturedPoint(point, copied, () => 0);
  }

  #replacePoint(point: RestorePoint, change: Partial<RestorePoint>, base: RestorePoint = point): RestorePoint {
    const changed = { ...base, ...change };
    const at = this.#state.points.findIndex(({ id }) => id === point.id);
    this.#state.points.splice(at, 1, changed);
    return changed;
  }

  /** A machine at a moment, as if that were a point. */
  #atMoment(name: string): RestorePoint {
    const machine = this.#shown(this.#machine(name));
    if (machine.kind === 'external') {
      const message = `the disks of ${machine.name} are external: someone else writes them`;
      throw new StillpointError('MACHINE_NOT_MANAGED', message, { machine: machine.name });
    }
    return {
      id: toPointId('0'.repeat(32)),
      name: '',
      machine: machine.name,
      collection: '',
      reference: machine.name,
      sequence: 0,
      createdMs: 0,
      state: 'copied',
      consistency: { requested: null, reached: 'crashConsistent', writers: [] },
      configuration: machine.configuration,
      disks: machine.disks.map((disk) => ({ ...disk, sizeBytes: disk.sizeBytes ?? 0, excluded: false })),
      captured: { startedMs: 0, endedMs: 0, bytesRead: 0, bytesNew: 0, bytesStored: 0 },
    };
  }

  #diskIn(point: RestorePoint, role: string): RestorePoint['disks'][number] {
    const disk = point.disks.find((each) => same(each.role, role));
    if (disk === undefined) {
      const roles = point.disks.map((each) => each.role);
      throw new StillpointError('DISK_NOT_FOUND', `${point.reference} has no disk ${role}`, { disk: role, roles });
    }
    return disk;
  }

  async #sizeOf(reference: string, role: string, path: string): Promise<number> {
    const size = this.#world.images.get(path);
    if (size !== undefined) return size;
    try {
      const content = await readFile(path);
      this.#world.contents.set(`${reference}/${role}`, content);
      return content.length;
    } catch (error) {
      throw new StillpointError(
        'SOURCE_NOT_FOUND',
        `the image of disk ${role}, ${path}, does not exist`,
        { path },
        error,
      );
    }
  }

  async #work(totalBytes: number, call: LongCallOptions, bytesPerSecond: number): Promise<void> {
    const { failure } = this.#world;
    call.onProgress?.({ doneBytes: 0, totalBytes });
    if (failure !== null) throw failure;
    if (this.#world.hangs) {
      call.onProgress?.({ doneBytes: Math.floor(totalBytes / 2), totalBytes });
      this.#world.onHang();
      await untilAborted(this.#world.stubborn ? undefined : call.signal);
      throw new StillpointError('CANCELLED', 'the call was cancelled', {}, call.signal?.reason);
    }
    this.#world.pass(Math.round((totalBytes * 1000) / bytesPerSecond));
    call.onProgress?.({ doneBytes: totalBytes, totalBytes });
  }
}

/** A point with the members that are not printed; the tests that compile this take no part of the library's store. */
function capturedPoint(
  point: RestorePoint,
  copied: CapturedPoint['copied'],
  completionPercent: () => number,
): CapturedPoint {
  return Object.defineProperties({ ...point } as CapturedPoint, {
    completionPercent: { get: completionPercent, enumerable: point.state === 'cut' },
    copied: { value: copied },
  });
}

/** A machine with the member that is not printed. */
function machineHandle(machine: VirtualMachine, capture: VirtualMachineHandle['capture']): VirtualMachineHandle {
  return Object.defineProperty({ ...machine } as VirtualMachineHandle, 'capture', { value: capture });
}

/** The moment that an answer names: the one asked for, as a record of the log. */
function momentIn(at: MomentOption | undefined): { readonly at?: { readonly lsn: string; readonly timeMs: number } } {
  if (at === undefined) return {};
  const timeMs = 'timeMs' in at ? at.timeMs - 3 : 1_795_408_093_000;
  return { at: { lsn: 'lsn' in at ? at.lsn : '73412', timeMs } };
}

/** Resolves when the signal is aborted; keeps the process alive until then, as work would. */
async function untilAborted(signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === true) return;
  const alive = setInterval(() => undefined, 60_000);
  await new Promise<void>((resolve) => {
    signal?.addEventListener('abort', () => {
      resolve();
    });
  });
  clearInterval(alive);
}
