/** A history of managed disks, taken step by step on a store and on the model beside it. */

import type { CapturedPoint, Store } from '../store/handles.js';
import { isStillpointError } from '../store/errors.js';
import { checkStore, sameBytes } from './check.js';
import { contentBytes } from './content.js';
import type { LiveAction, LiveHistory } from './live-histories.js';
import { LiveModel, type ModelDisk, type ModelMoment } from './live-model.js';
import { historyMachine } from './run.js';

const sectorBytes = 512;

/** Disks of a history at most; what would make more is left out. */
const disksMax = 8;

/** What a history of managed disks runs on. */
export interface LiveStage {
  /** Opens the store; called again by `reopen`, after the last one was closed. */
  open(): Promise<Store>;
}

/**
 * Runs a history of managed disks. After every step that changes points, and at the end, all live disks, all points and
 * the diffs between them are compared with the model.
 *
 * Holds: the store that it returns is open and is the caller's to close. Errors: `TypeError` where store and model
 * differ; whatever the store rejects with.
 */
export async function runLiveHistory(
  history: LiveHistory,
  stage: LiveStage,
): Promise<{ store: Store; model: LiveModel }> {
  const run = new LiveRun(stage, await stage.open());
  await run.begin(history.disks);
  for (const action of history.actions) await run.take(action);
  await run.check();
  return { store: run.store, model: run.model };
}

/** Compares all live disks, points and diffs of a store with the model. */
export async function checkLive(store: Store, model: LiveModel): Promise<void> {
  const names = (await store.disks()).map(({ name, machine, role }) => `${name} ${machine === null ? '-' : role}`);
  const expected = model.disks.map(({ name, role }) => `${name} ${role ?? '-'}`).sort();
  if (names.sort().join() !== expected.join())
    throw new TypeError(`the store has the disks ${names.join()}, not ${expected.join()}`);
  for (const { name, bytes } of model.disks) {
    const disk = await store.disk(name);
    sameBytes(await disk.read(0, disk.info.sizeBytes), bytes, `the live disk ${name}`);
  }
  await checkStore(store, historyMachine, model);
}

class LiveRun {
  readonly model: LiveModel = new LiveModel();
  store: Store;
  readonly #stage: LiveStage;
  readonly #captured = new Map<string, CapturedPoint>();
  #named = 0;

  constructor(stage: LiveStage, store: Store) {
    this.#stage = stage;
    this.store = store;
  }

  async begin(sizes: readonly number[]): Promise<void> {
    const disks: Record<string, string> = {};
    for (const [index, sectors] of sizes.entries()) {
      const name = `disk${index}`;
      const { id } = await this.store.createDisk({ name, sizeBytes: sectors * sectorBytes });
      this.model.add(name, id, new Uint8Array(sectors * sectorBytes));
      disks[`role${index}`] = name;
    }
    await this.store.createVirtualMachine({ name: historyMachine, disks });
    for (const [index, disk] of this.model.disks.entries()) this.model.attach(disk, `role${index}`);
  }

  async check(): Promise<void> {
    await checkLive(this.store, this.model);
    const { findings } = await this.store.verify({ readData: true });
    if (findings.length > 0) throw new TypeError(`a sound store has findings: ${JSON.stringify(findings)}`);
  }

  async take(action: LiveAction): Promise<void> {
    switch (action.do) {
      case 'write':
      case 'zero':
      case 'trim':
        return this.#change(action);
      case 'flush':
        return (await this.store.disk(this.#disk(action.disk).name)).flush();
      case 'grow': {
        const disk = this.#disk(action.disk);
        const sizeBytes = disk.bytes.length + action.sectors * sectorBytes;
        await (await this.store.disk(disk.name)).grow(sizeBytes);
        this.model.grow(disk, sizeBytes);
        return;
      }
      case 'capture':
        return this.#capture(action.exclude);
      case 'copied':
        await this.#captured.get(this.#point(action.point)?.name ?? '')?.copied();
        return;
      case 'clone':
        return this.#clone(action.point, action.disk);
      case 'reset':
        return this.#reset(action.point);
      case 'moment':
        return this.#moment(action.write, action.disk);
      case 'attach':
      case 'detach':
      case 'deleteDisk':
        return this.#move(action.do, this.#disk(action.disk));
      case 'deletePoint': {
        const point = this.#point(action.point);
        if (point === undefined) return;
        await this.store.deletePoint(`${historyMachine}/${point.name}`);
        this.model.deletePoint(point.name);
        return checkLive(this.store, this.model);
      }
      case 'collect':
        await this.store.collect();
        return checkLive(this.store, this.model);
      case 'verify':
        return this.check();
      case 'reopen':
        await this.store.close();
        this.#captured.clear();
        this.store = await this.#stage.open();
        return checkLive(this.store, this.model);
    }
  }

  #disk(choice: number): ModelDisk {
    const { disks } = this.model;
    const disk = disks[choice % disks.length];
    if (disk === undefined) throw new TypeError('a history keeps at least one disk');
    return disk;
  }

  #point(choice: number): LiveModel['points'][number] | undefined {
    return this.model.points[choice % Math.max(1, this.model.points.length)];
  }

  async #change(action: LiveAction & { readonly do: 'write' | 'zero' | 'trim' }): Promise<void> {
    const model = this.#disk(action.disk);
    const size = model.bytes.length;
    const offset = (action.sector * sectorBytes) % size;
    const length = Math.min(action.sectors * sectorBytes, size - offset);
    const disk = await this.store.disk(model.name);
    const bytes = action.do === 'write' ? contentBytes(action.content, length) : new Uint8Array(length);
    let lsn: string;
    if (action.do === 'write') lsn = await disk.write(offset, bytes, { fua: action.fua });
    else lsn = action.do === 'zero' ? await disk.writeZeroes(offset, length) : await disk.trim(offset, length);
    this.model.write(model, offset, bytes);
    if (model.role !== null) this.model.remember(lsn);
  }

  async #capture(excluded: number | null): Promise<void> {
    const { attached } = this.model;
    if (attached.length === 0) return;
    const role = excluded === null || attached.length < 2 ? null : (attached[excluded % attached.length]?.role ?? null);
    const name = `p${this.#named}`;
    this.#named += 1;
    for (;;) {
      try {
        const options = { name, exclude: role === null ? [] : [role] };
        this.#captured.set(name, await this.store.capture(historyMachine, options));
        break;
      } catch (error) {
        if (!isStillpointError(error, 'LAYERS_FULL')) throw error;
        // The oldest copy has to end first.
        await Promise.all([...this.#captured.values()].map((point) => point.copied().catch(() => undefined)));
        await this.#copiesOfEarlierOpens();
      }
    }
    this.model.capture(name, role);
  }

  /** Points of an earlier open have no handle; a further look tells when their copies have ended. */
  async #copiesOfEarlierOpens(): Promise<void> {
    while ((await this.store.restorePoints(historyMachine)).some(({ state }) => state === 'cut')) {
      await this.store.status();
    }
  }

  #newName(): string | null {
    if (this.model.disks.length >= disksMax) return null;
    this.#named += 1;
    return `made${this.#named}`;
  }

  async #clone(choice: number, disk: number): Promise<void> {
    const point = this.#point(choice);
    const [role, bytes] = [...(point?.disks ?? [])][disk % Math.max(1, point?.disks.size ?? 0)] ?? [];
    const name = this.#newName();
    if (point === undefined || role === undefined || bytes === undefined || name === null) return;
    const { id } = await this.store.cloneDisk(name, `${historyMachine}/${point.name}/${role}`);
    this.model.add(name, id, bytes);
  }

  async #reset(choice: number): Promise<void> {
    const point = this.#point(choice);
    if (point === undefined) return;
    const common = this.model.attached.filter(({ role }) => role !== null && point.disks.has(role));
    const roles = common.flatMap(({ role }) => role ?? []);
    if (roles.length === 0) return;
    const isWhole =
      point.disks.size === this.model.attached.length &&
      common.every((disk) => point.names.get(disk.role ?? '') === disk.name) &&
      common.length === point.disks.size;
    const reference = `${historyMachine}/${point.name}`;
    await (isWhole ? this.store.restoreInPlace(reference) : this.store.restoreInPlace(reference, { disks: roles }));
    for (const disk of common) disk.bytes = point.disks.get(disk.role ?? '') ?? disk.bytes;
  }

  /** Makes a disk of what one was after an earlier write; at times the whole machine goes back to that. */
  async #moment(choice: number, disk: number): Promise<void> {
    const { moments } = this.model;
    const moment = moments[choice % Math.max(1, moments.length)];
    const [was, bytes] = [...(moment?.disks ?? [])][disk % Math.max(1, moment?.disks.size ?? 0)] ?? [];
    const name = this.#newName();
    if (moment === undefined || was === undefined || bytes === undefined || name === null) return;
    const at = { lsn: moment.lsn };
    // A disk that was deleted since is asked for by its id.
    const current = this.model.disks.find((each) => each === was);
    const role = current === undefined ? was.id : (await this.store.disk(was.name)).info.role;
    const report = await this.store.restoreToDisk(historyMachine, { disk: role, name, at });
    if (report.at?.lsn !== moment.lsn)
      throw new TypeError(`the moment ${moment.lsn} was answered with ${report.at?.lsn ?? 'none'}`);
    this.model.add(name, report.disk.id, bytes);
    if (disk % 4 === 0) await this.#wholeMoment(moment);
  }

  /** Puts the machine back to an earlier write, where it has the same disks. */
  async #wholeMoment({ lsn, disks }: ModelMoment): Promise<void> {
    const { attached } = this.model;
    if (attached.length !== disks.size || !attached.every((each) => disks.has(each))) return;
    const report = await this.store.restoreInPlace(historyMachine, { at: { lsn } });
    if (report.disks.length !== disks.size) throw new TypeError(`${report.disks.join()} were put back, not all`);
    for (const each of attached) each.bytes = disks.get(each) ?? each.bytes;
    this.model.remember(report.lsn);
  }

  async #move(what: 'attach' | 'detach' | 'deleteDisk', disk: ModelDisk): Promise<void> {
    const isDetached = disk.role === null;
    const handle = await this.store.disk(disk.name);
    if (what === 'detach' && !isDetached) {
      await handle.detach();
      this.model.detach(disk);
    } else if (what === 'attach' && isDetached) {
      this.#named += 1;
      const role = `role${this.#named}x`;
      await handle.attach(historyMachine, role);
      this.model.attach(disk, role);
    } else if (what === 'deleteDisk' && isDetached && this.model.disks.length > 1) {
      await handle.delete();
      this.model.remove(disk);
    }
  }
}
