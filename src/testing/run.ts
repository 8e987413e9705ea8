/** A history, taken step by step on a store and on the model beside it. */

import type { Store } from '../store/handles.js';
import { isStillpointError } from '../store/errors.js';
import { checkDiff, checkStore, sameBytes, type DiffSide } from './check.js';
import { contentBytes } from './content.js';
import type { Action, History } from './histories.js';
import { DiskModel, type ModelPoint } from './model.js';

/** Where a history's images and restored files are: a simulated world, or real files. */
export interface Images {
  /** Makes or replaces a file. */
  install(name: string, bytes: Uint8Array): void | Promise<void>;
  write(name: string, offset: number, bytes: Uint8Array): void | Promise<void>;
  punchHole(name: string, offset: number, length: number): void | Promise<void>;
  setLength(name: string, length: number): void | Promise<void>;
  read(name: string): Uint8Array | Promise<Uint8Array>;
  /** The path of a file, as the store is told. */
  pathOf(name: string): string;
}

/** What a history runs on. */
export interface Stage {
  readonly images: Images;
  /** Opens the store; called again by `reopen`, after the last one was closed. */
  open(): Promise<Store>;
}

/** The machine of a history. */
export const historyMachine = 'machine';

const sectorBytes = 512;

/**
 * Runs a history. After every step that changes points, and at the end, the store is compared with the model.
 *
 * Holds: the store that it returns is open and is the caller's to close. Errors: `TypeError` where store and model
 * differ; whatever the store rejects with.
 */
export async function runHistory(history: History, stage: Stage): Promise<{ store: Store; model: DiskModel }> {
  const run = new Run(stage, await stage.open());
  await run.begin(history.disks);
  for (const action of history.actions) await run.take(action);
  await run.collected();
  await run.check();
  return { store: run.store, model: run.model };
}

class Run {
  readonly model: DiskModel = new DiskModel();
  store: Store;
  readonly #stage: Stage;
  #named = 0;
  #collecting: Promise<unknown> = Promise.resolve();

  constructor(stage: Stage, store: Store) {
    this.#stage = stage;
    this.store = store;
  }

  async begin(sizes: readonly number[]): Promise<void> {
    const { images } = this.#stage;
    const disks: { role: string; external: string }[] = [];
    for (const [index, sectors] of sizes.entries()) {
      const role = `disk${index}`;
      const bytes = new Uint8Array(sectors * sectorBytes);
      await images.install(role, bytes);
      this.model.setDisk(role, bytes);
      disks.push({ role, external: images.pathOf(role) });
    }
    await this.store.createVirtualMachine({ name: historyMachine, disks });
  }

  async check(): Promise<void> {
    await checkStore(this.store, historyMachine, this.model);
    const { findings } = await this.store.verify({ readData: true });
    if (findings.length > 0) throw new TypeError(`a sound store has findings: ${JSON.stringify(findings)}`);
  }

  async take(action: Action): Promise<void> {
    switch (action.do) {
      case 'write': {
        const { role, offset, length } = this.#range(action.disk, action.sector, action.sectors);
        await this.#write(role, offset, contentBytes(action.content, length));
        return;
      }
      case 'copy': {
        const from = this.#range(action.disk, action.from, action.sectors);
        const to = this.#range(action.disk, action.to, action.sectors);
        const length = Math.min(from.length, to.length);
        const bytes = this.model.disk(from.role).slice(from.offset, from.offset + length);
        await this.#write(to.role, to.offset, bytes);
        return;
      }
      case 'punch': {
        const { role, offset, length } = this.#range(action.disk, action.sector, action.sectors);
        this.model.zero(role, offset, length);
        await this.#stage.images.punchHole(role, offset, length);
        return;
      }
      case 'resize': {
        const role = this.#role(action.disk);
        this.model.resize(role, action.sectors * sectorBytes);
        await this.#stage.images.setLength(role, action.sectors * sectorBytes);
        return;
      }
      case 'capture':
        await this.#capture(action.exclude);
        return;
      case 'diff':
        await this.#diff(action.before, action.after, action.disk, action.granularity);
        return;
      case 'read':
        await this.#read(action.point, action.disk, action.sector * sectorBytes, action.length);
        return;
      case 'restore':
        await this.#restore(action.point, action.disk, action.overwrite);
        return;
      case 'delete': {
        const point = this.#point(action.point);
        if (point === undefined) return;
        await this.store.deletePoint(`${historyMachine}/${point.name}`);
        this.model.delete(point.name);
        return;
      }
      case 'collectBeside':
        await this.collected();
        this.#collecting = this.store.collect();
        this.#collecting.catch(() => undefined); // told where it is waited for
        return;
      case 'collect':
        await this.collected();
        await this.store.collect();
        await checkStore(this.store, historyMachine, this.model);
        return;
      case 'verify':
        await this.check();
        return;
      case 'reopen':
        await this.collected();
        await this.store.close();
        this.store = await this.#stage.open();
        await checkStore(this.store, historyMachine, this.model);
    }
  }

  /** Waits for the collection that runs beside. */
  async collected(): Promise<void> {
    await this.#collecting;
  }

  #role(choice: number): string {
    const { roles } = this.model;
    const role = roles[choice % roles.length];
    if (role === undefined) throw new TypeError('a history has at least one disk');
    return role;
  }

  #point(choice: number): ModelPoint | undefined {
    const { points } = this.model;
    return points[choice % Math.max(1, points.length)];
  }

  /** A range of a disk that lies inside it. */
  #range(disk: number, sector: number, sectors: number): { role: string; offset: number; length: number } {
    const role = this.#role(disk);
    const size = this.model.disk(role).length;
    const offset = (sector * sectorBytes) % size;
    return { role, offset, length: Math.min(sectors * sectorBytes, size - offset) };
  }

  async #write(role: string, offset: number, bytes: Uint8Array): Promise<void> {
    this.model.write(role, offset, bytes);
    await this.#stage.images.write(role, offset, bytes);
  }

  async #capture(excluded: number | null): Promise<void> {
    const exclude = excluded === null || this.model.roles.length < 2 ? [] : [this.#role(excluded)];
    const name = `p${this.#named}`;
    this.#named += 1;
    for (;;) {
      try {
        await this.store.capture(historyMachine, { name, exclude });
        break;
      } catch (error) {
        // A real file that was written a moment ago; the attempt itself takes a part of the 20 ms.
        if (!isStillpointError(error, 'SOURCE_NOT_STILL')) throw error;
      }
    }
    this.model.capture(name, exclude);
  }

  async #diff(before: number, after: number, disk: number, granularity: number | null): Promise<void> {
    const role = this.#role(disk);
    const side = (point: ModelPoint | undefined): DiffSide | null => {
      const bytes = point?.disks.get(role);
      return point === undefined || bytes === undefined ? null : { name: point.name, bytes };
    };
    const [from, to] = [side(this.#point(before)), side(this.#point(after))];
    if (from !== null && to !== null) await checkDiff(this.store, historyMachine, from, to, role, granularity);
  }

  async #read(choice: number, disk: number, at: number, wanted: number): Promise<void> {
    const point = this.#point(choice);
    const role = this.#role(disk);
    const bytes = point?.disks.get(role);
    if (point === undefined || bytes === undefined) return;
    const offset = at % bytes.length;
    const length = Math.min(wanted, bytes.length - offset);
    const found = await this.store.read(`${historyMachine}/${point.name}`, { disk: role, offset, length });
    sameBytes(found, bytes.subarray(offset, offset + length), `${point.name}/${role} from ${offset}`);
  }

  async #restore(choice: number, disk: number, overwrite: boolean): Promise<void> {
    const point = this.#point(choice);
    const role = this.#role(disk);
    const bytes = point?.disks.get(role);
    if (point === undefined || bytes === undefined) return;
    const { images } = this.#stage;
    this.#named += 1;
    const target = `restored${this.#named}`;
    // Something larger that must not show through.
    if (overwrite) await images.install(target, new Uint8Array(bytes.length + 5000).fill(0xaa));
    const to = images.pathOf(target);
    await this.store.restore(`${historyMachine}/${point.name}`, { disk: role, to, overwrite, sync: false });
    sameBytes(await images.read(target), bytes, `${point.name}/${role}, restored`);
  }
}
