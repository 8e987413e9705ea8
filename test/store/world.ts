/**
 * A store in memory whose process can end at any step of catalog or engine, and be started again.
 *
 * One counter goes through the steps of both, so a crash point is a number. Nothing here waits for time.
 */

import type { Parts } from '../../src/store/parts.js';
import type { Store } from '../../src/store/handles.js';
import { createStore, openStore } from '../../src/store/open.js';
import { manualClock, type ManualClock } from '../../src/testing/clock.js';
import { memoryEngine, type MemoryEngineFactory } from '../../src/testing/memory-engine.js';
import { seededRandom } from '../../src/testing/random.js';
import { SimulatedStorage, type Kept } from '../catalog/simulated-storage.js';

export const storePath = '/stores/one';

/** The end of the process, as the step that it came at. */
export class ProcessEnd extends Error {
  override readonly name = 'ProcessEnd';
}

/** Whether an error comes from the end of the process, through whatever it was wrapped in. */
export function isProcessEnd(error: unknown): boolean {
  return error instanceof ProcessEnd || (error instanceof Error && isProcessEnd(error.cause));
}

export class World {
  readonly clock: ManualClock = manualClock();
  readonly engine: MemoryEngineFactory;
  readonly storage: SimulatedStorage;
  readonly steps: string[] = [];
  readonly parts: Parts;
  /** The process ends at the step with this number, counted from 1 when it was set. */
  #endAt = Number.POSITIVE_INFINITY;
  #hasEnded = false;
  /** Called at each step of the engine; what it waits for, the call waits for. */
  onEngineStep: (step: string) => void | Promise<void> = () => undefined;

  constructor() {
    const step = (name: string): void => this.#step(name);
    this.storage = new SimulatedStorage(step);
    const random = seededRandom(7);
    this.engine = memoryEngine({
      clock: this.clock,
      random,
      onStep: (name) => {
        this.#step(name);
        return this.onEngineStep(name);
      },
    });
    this.parts = { clock: this.clock, random, engine: this.engine, catalog: () => this.storage };
  }

  /** A new store with a machine `web1` of two disks, `os` and `data`. */
  static async make(): Promise<{ world: World; store: Store }> {
    const world = new World();
    await createStore({ path: storePath, chunkBytes: 16384 }, world.parts);
    const store = await world.open();
    world.setDisk('os', 1);
    world.setDisk('data', 1);
    await store.createVirtualMachine({
      name: 'web1',
      disks: [
        { role: 'os', external: '/images/os.raw' },
        { role: 'data', external: '/images/data.raw' },
      ],
      configuration: { vcpus: 2 },
    });
    return { world, store };
  }

  /** A new store without anything; it has to be opened. */
  static async empty(): Promise<World> {
    const world = new World();
    await createStore({ path: storePath, chunkBytes: 16384 }, world.parts);
    return world;
  }

  /** A new store with a managed machine `db` of two disks of 4096 bytes, `os` and `data`, filled with 1. */
  static async makeManaged(): Promise<{ world: World; store: Store }> {
    const world = new World();
    await createStore({ path: storePath, chunkBytes: 16384 }, world.parts);
    const store = await world.open();
    for (const name of ['db-os', 'db-data']) {
      const disk = await store.createDisk({ name, sizeBytes: 4096 });
      await disk.write(0, new Uint8Array(4096).fill(1));
    }
    await store.createVirtualMachine({
      name: 'db',
      disks: { os: 'db-os', data: 'db-data' },
      configuration: { vcpus: 4 },
    });
    return { world, store };
  }

  /** Fills a managed disk with a byte. */
  async fill(store: Store, name: string, value: number): Promise<void> {
    const disk = await store.disk(name);
    await disk.write(0, new Uint8Array(disk.info.sizeBytes).fill(value));
  }

  /** Ids of the points whose cuts wait. */
  get cuts(): string[] {
    return this.engine.cutIds(storePath);
  }

  open(readOnly = false): Promise<Store> {
    return openStore({ path: storePath, readOnly }, this.parts);
  }

  /** Fills a disk's image with a byte. */
  setDisk(role: string, value: number, sizeBytes = 4096): void {
    this.engine.setSource(`/images/${role}.raw`, new Uint8Array(sizeBytes).fill(value));
  }

  /** Lets the process end at a step from now on. */
  endAt(step: number): void {
    this.steps.length = 0;
    this.#endAt = step;
  }

  /** Ends the process now: what runs has no effect from here on. */
  end(): never {
    this.#hasEnded = true;
    throw new ProcessEnd('end');
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Ends the process now, if it has not ended, and starts a new one. */
  async restart(kept: Kept = 'nothing'): Promise<Store> {
    this.stop(kept);
    return this.open();
  }

  /** Ends the process now; the medium keeps what was synced, and of the rest what is said. */
  stop(kept: Kept = 'nothing'): void {
    this.engine.crash(kept === 'nothing' ? 'powerCut' : 'processKilled');
    this.storage.restart(kept);
    this.#endAt = Number.POSITIVE_INFINITY;
    this.#hasEnded = false;
  }

  /** Ids of the manifests that are in place. */
  get manifests(): string[] {
    return this.engine.pointIds(storePath);
  }

  #step(name: string): void {
    this.steps.push(name);
    if (this.steps.length >= this.#endAt) this.#hasEnded = true;
    if (this.#hasEnded) throw new ProcessEnd(name);
  }
}

/** References of all points with their states. */
export async function listing(store: Store): Promise<string[]> {
  return (await store.restorePoints()).map((point) => `${point.reference} ${point.state}`);
}

/** A promise with its resolution, to hold a call at a step. */
export function held(): { promise: Promise<void>; release: () => void } {
  let release = (): void => undefined;
  const promise = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { promise, release };
}
