/**
 * Law: whatever happens to captures and deletions of managed machines, and to the store around them, every point that
 * somebody was answered for and nobody deleted is there with its bytes; no other can be used, unless its record was
 * durable or the catalog was lost; what was deleted stays deleted, until the catalog is lost; no two points of a machine
 * have one number; opening always works, and says nothing of damage where nothing was lost.
 *
 * Method: seeded histories over the memory engine and the simulated catalog. Two machines are captured, and points
 * deleted, one after the other or at once, while batches meet full disks and devices that fail, steps of the engine fail,
 * copies stop, the process ends anywhere, opening included, power is cut, logs are closed, fenced and opened again, and the
 * catalog is lost, with its dump or without. Each capture's disks hold a byte of its own, which tells whose point it is.
 */

import { describe, expect, it } from 'vitest';

import { isStillpointError, StillpointError } from '../../src/store/errors.js';
import type { RestorePoint, Store } from '../../src/store/handles.js';
import { seededRandom } from '../../src/testing/random.js';
import { keptModes } from '../catalog/simulated-storage.js';
import { overSeeds } from '../house/seed-range.js';
import { isProcessEnd, storePath, World } from '../store/world.js';

const operations = 14;

/** A capture that was tried. */
interface Attempt {
  readonly machineId: string;
  /** What its disks were filled with. */
  readonly byte: number;
  readonly name: string;
  /** Of its point, once somebody was told. */
  id: string | null;
  /** Whether its point has to be there; unknown where a deletion was interrupted. */
  is: 'there' | 'gone' | 'unknown';
  /** The catalog was lost since, so a cut that is in the log still may become a point again. */
  mayReturn: boolean;
  /** It did: a catalog that is lost again need not take it for a point, if a younger one is copied by then. */
  hasReturned: boolean;
}

/** Whole numbers from a seed. */
class Chance {
  readonly #random: ReturnType<typeof seededRandom>;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  below(count: number): number {
    const [high = 0, low = 0] = this.#random.bytes(2);
    return (high * 256 + low) % count;
  }

  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }

  of<T>(list: readonly T[]): T {
    const chosen = list[this.below(list.length)];
    if (chosen === undefined) throw new TypeError('nothing to choose from');
    return chosen;
  }
}

const machineDisks: Readonly<Record<string, readonly string[]>> = { db: ['db-os', 'db-data'], web: ['web-os'] };
const full = new StillpointError('NO_SPACE', 'the disk is full');
const failing = new StillpointError('IO_FAILED', 'the device failed');
const pausedSteps = ['cut-before', 'cut-after', 'durable-before', 'durable-after', 'drop-before'];
const failingSteps = ['cut-before', 'cut-after', 'durable-before', 'durable-after', 'release-before', 'drop-before'];

/** Lets others go on for a while: without timers, so that the order is the same each time. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < 8 * count; turn += 1) await Promise.resolve();
}

/** Lets everything go on that can. */
async function quiet(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

class History {
  readonly world: World;
  readonly log: string[] = [];
  readonly #chance: Chance;
  readonly #machineIds: Readonly<Record<string, string>>;
  readonly #attempts: Attempt[] = [];
  /** Points that were deleted since the catalog was lost, if it was. */
  readonly #deletedIds = new Set<string>();
  /** Machines whose logs have been closed since the catalog was lost. */
  readonly #unseen = new Set<string>();
  readonly #failingLogs = new Set<string>();
  #store: Store;
  #areCopiesFailing = false;
  #isFenced = false;
  /** Points that the database had as usable when the store was opened. */
  #recorded: ReadonlySet<string> = new Set();

  private constructor(world: World, store: Store, machineIds: Readonly<Record<string, string>>, chance: Chance) {
    this.world = world;
    this.#store = store;
    this.#machineIds = machineIds;
    this.#chance = chance;
    this.#calm();
  }

  static async make(seed: number): Promise<History> {
    const { world, store } = await World.makeManaged();
    await store.createDisk({ name: 'web-os', sizeBytes: 4096 });
    await store.createVirtualMachine({ name: 'web', disks: { os: 'web-os' } });
    const ids = { db: (await store.virtualMachine('db')).id, web: (await store.virtualMachine('web')).id };
    return new History(world, store, ids, new Chance(seed));
  }

  /** How many captures were tried. */
  get captureCount(): number {
    return this.#attempts.length;
  }

  async run(): Promise<void> {
    for (let count = 0; count < operations; count += 1) {
      await this.#operation();
      await this.#check();
    }
    await this.#end();
  }

  async #operation(): Promise<void> {
    const chance = this.#chance;
    switch (chance.below(10)) {
      case 0:
      case 1:
      case 2:
        return this.#disturbed([() => this.#capture(chance.of(['db', 'web']))]);
      case 3:
        return this.#disturbed([() => this.#capture('db'), () => this.#capture('web')]);
      case 4:
        return this.#disturbed([() => this.#delete()]);
      case 5:
        return this.#disturbed([() => this.#delete(), () => this.#capture(chance.of(['db', 'web']))]);
      case 6:
        this.#areCopiesFailing = !this.#areCopiesFailing;
        this.log.push(`copies ${this.#areCopiesFailing ? 'fail' : 'go on'}`);
        return;
      case 7:
        return this.#logs();
      default:
        return this.#reopen(chance.oneIn(2));
    }
  }

  /** Runs calls at once, with something that goes wrong, or nothing. */
  async #disturbed(calls: readonly (() => Promise<unknown>)[]): Promise<void> {
    const { world } = this;
    const chance = this.#chance;
    const kind = chance.below(6);
    if (kind === 0) {
      const at = 1 + chance.below(45);
      this.log.push(`the process ends at step ${at}`);
      world.endAt(at);
    } else if (kind === 1 || kind === 2) {
      const error = kind === 1 ? full : failing;
      const from = chance.below(4);
      const count = 1 + chance.below(6);
      this.log.push(`${count} batches from ${from} on: ${error.code}`);
      this.#failBatches(from, count, error);
    } else if (kind === 3) {
      const step = chance.of(failingSteps);
      this.log.push(`${step} fails`);
      this.#failStep(step);
    }
    await Promise.all([...calls, ...(chance.oneIn(3) ? [() => this.#verify()] : [])].map((call) => call()));
    await turns(chance.below(12));
    this.#calm();
    if (world.hasEnded) return this.#start('the process has ended');
    world.endAt(Number.POSITIVE_INFINITY);
    if (this.#isFenced) await this.#reopen(chance.oneIn(3));
  }

  /** The catalog's files hold what they must, unless nobody knows what they hold. */
  async #verify(): Promise<void> {
    try {
      const { findings } = await this.#store.verify();
      const ofCatalog = findings.filter(({ file }) => file.startsWith('catalog'));
      if (!this.#isFenced && !this.world.hasEnded) expect(ofCatalog.map(({ message }) => message)).toEqual([]);
    } catch (error) {
      this.#expected(error);
    }
  }

  async #capture(machine: string, isSure = false): Promise<Attempt> {
    const machineId = this.#machineIds[machine] ?? '';
    const byte = this.#attempts.length + 1;
    const old = this.#attempts.filter((each) => each.is === 'gone' && each.machineId === machineId);
    const name = old.length > 0 && !isSure && this.#chance.oneIn(3) ? this.#chance.of(old).name : `p${byte}`;
    const attempt: Attempt = { machineId, byte, name, id: null, is: 'gone', mayReturn: false, hasReturned: false };
    this.#attempts.push(attempt);
    const isFilled = await this.#fill(machine, byte);
    const reference = await this.#nameOf(machineId);
    if (reference === null) return attempt;
    const controller = new AbortController();
    if (!isSure && this.#chance.oneIn(12)) void turns(this.#chance.below(6)).then(() => controller.abort());
    try {
      const { id, sequence } = await this.#store.capture(reference, { name, signal: controller.signal });
      attempt.id = id;
      attempt.is = 'there';
      this.log.push(`${machine} ${name} is answered: number ${sequence}, byte ${byte}`);
      expect(isFilled).toBe(true);
    } catch (error) {
      this.#expected(error);
      this.log.push(`${machine} ${name} is not: byte ${byte}, ${String(error)}`);
    }
    return attempt;
  }

  async #fill(machine: string, byte: number): Promise<boolean> {
    try {
      for (const name of machineDisks[machine] ?? []) {
        const disk = await this.#store.disk(name);
        await disk.write(0, new Uint8Array(disk.info.sizeBytes).fill(byte), { fua: this.#chance.oneIn(2) });
      }
      return true;
    } catch (error) {
      this.#expected(error);
      return false;
    }
  }

  async #delete(): Promise<void> {
    const points = await this.#store.restorePoints();
    if (points.length === 0) return;
    const { id, reference } = this.#chance.of(points);
    const attempt = this.#attempts.find((each) => each.id === id);
    if (attempt !== undefined) attempt.is = 'unknown';
    try {
      await this.#store.deletePoint(reference);
      this.#deletedIds.add(id);
      if (attempt !== undefined) attempt.is = 'gone';
      this.log.push(`${reference} ${id} is deleted`);
    } catch (error) {
      this.#expected(error);
      this.log.push(`${reference} ${id} may be deleted: ${String(error)}`);
    }
  }

  /** Something about write logs. */
  async #logs(): Promise<void> {
    const { engine } = this.world;
    const chance = this.#chance;
    const machineId = this.#machineIds[chance.of(['db', 'web'])] ?? '';
    if (this.#failingLogs.has(machineId)) {
      this.log.push(`the log of ${machineId} can be opened`);
      engine.failLog(storePath, machineId, null);
      this.#failingLogs.delete(machineId);
      if (chance.oneIn(3)) return;
    } else if (chance.oneIn(2)) {
      this.log.push(`the log of ${machineId} cannot be opened from now on`);
      engine.failLog(storePath, machineId, 'IO_FAILED');
      this.#failingLogs.add(machineId);
      return;
    } else if (!(await this.#closedLogs()).has(machineId)) {
      this.log.push(`the log of ${machineId} is fenced`);
      engine.fenceLog(storePath, machineId);
      await this.#disturbed([() => this.#capture('db')]);
    }
    this.log.push('logs are opened anew');
    try {
      await this.#store.reopenLogs();
    } catch (error) {
      this.#expected(error);
    }
  }

  async #closedLogs(): Promise<ReadonlySet<string>> {
    const { failedLogs } = await this.#store.status();
    return new Set(failedLogs.map(({ logId }) => logId));
  }

  /** Closes the store, or cuts the power, and opens it again. */
  async #reopen(isClosed: boolean): Promise<void> {
    if (isClosed) await this.#store.close();
    await this.#start(isClosed ? 'the store was closed' : 'the power was cut');
  }

  /** Starts a process; the one before has ended. */
  async #start(why: string): Promise<void> {
    const { world } = this;
    const chance = this.#chance;
    this.#isSound = true;
    for (let isFirst = true; ; isFirst = false) {
      if (!world.hasEnded) expect(() => world.end()).toThrow();
      await quiet(); // what runs ends with its process
      this.#stop(isFirst ? why : 'the process has ended while it opened');
      if (chance.oneIn(4)) this.#loseCatalog(chance.oneIn(4));
      this.#recorded = this.#recordedPoints();
      if (chance.oneIn(5)) world.endAt(1 + chance.below(25));
      try {
        this.#store = await world.open();
      } catch (error) {
        if (!world.hasEnded) throw error;
        continue;
      }
      if (world.hasEnded) continue;
      world.endAt(Number.POSITIVE_INFINITY);
      break;
    }
  }

  #stop(why: string): void {
    const { world } = this;
    const kept = this.#chance.of(keptModes);
    // What the log keeps and what the catalog keeps have nothing to do with each other.
    const isPowerCut = this.#chance.oneIn(2);
    this.log.push(`${why}: ${kept} kept${isPowerCut ? ', and of logs nothing' : ''}`);
    if (isPowerCut) world.engine.crash('powerCut');
    world.stop(kept);
    this.#isFenced = false;
  }

  #isSound = true;

  #loseCatalog(withDump: boolean): void {
    this.log.push(`the catalog is lost${withDump ? ', with its dump' : ''}`);
    this.world.storage.records.clear();
    if (withDump && this.world.storage.fileNames().includes('catalog.dump')) {
      this.world.storage.removeFile('catalog.dump');
    }
    this.#isSound = false;
    this.#deletedIds.clear();
    for (const id of Object.values(this.#machineIds)) this.#unseen.add(id);
    for (const attempt of this.#attempts) {
      if (attempt.hasReturned && attempt.is === 'there') attempt.is = 'unknown';
      if (attempt.is !== 'there') attempt.mayReturn = true;
    }
  }

  /** Ids of the points that the database has as usable. */
  #recordedPoints(): ReadonlySet<string> {
    const usable = new Set<string>();
    for (const [key, value] of this.world.storage.records) {
      if (!key.startsWith('point/')) continue;
      const { state } = JSON.parse(Buffer.from(value.subarray(8)).toString()) as { state: string };
      if (state === 'cut' || state === 'copied') usable.add(key.slice('point/'.length));
    }
    return usable;
  }

  /** The capture whose bytes a point has; undefined while they cannot be read. */
  async #attemptOf(id: string, reference: string): Promise<Attempt | undefined> {
    try {
      const [byte = 0] = await this.#store.read(reference, { disk: 'os', offset: 0, length: 1 });
      const attempt = this.#attempts.find((each) => each.byte === byte);
      expect(attempt, `${reference} ${id} has the byte ${byte}`).toBeDefined();
      return attempt;
    } catch (error) {
      if (isStillpointError(error, 'LOG_UNAVAILABLE') || this.world.hasEnded) return undefined;
      throw error;
    }
  }

  async #check(): Promise<void> {
    const store = this.#store;
    const closed = await this.#closedLogs();
    const points = await store.restorePoints();
    expect(this.#findingsOfDamage().join(), 'findings').toBe('');
    expect(points.filter(({ id }) => this.#deletedIds.has(id)).map(describeOf), 'deleted points').toEqual([]);
    for (const machineId of Object.values(this.#machineIds)) {
      const name = await this.#nameOf(machineId);
      const sequences = points.filter(({ machine }) => machine === name).map(({ sequence }) => sequence);
      expect(new Set(sequences).size, `numbers of ${String(name)}: ${sequences.join()}`).toBe(sequences.length);
    }
    const found = new Map<Attempt, RestorePoint>();
    let unread = 0;
    for (const point of points) {
      if (point.state !== 'cut' && point.state !== 'copied') continue;
      const attempt = await this.#attemptOf(point.id, point.reference);
      if (attempt === undefined) {
        unread += 1;
        continue;
      }
      expect(found.has(attempt), `${describeOf(point)} is there twice`).toBe(false);
      found.set(attempt, point);
      const isAllowed = attempt.is !== 'gone' || attempt.mayReturn || this.#recorded.has(point.id);
      expect(isAllowed, `${describeOf(point)}, byte ${attempt.byte}, can be used`).toBe(true);
      attempt.hasReturned ||= attempt.is === 'gone' && attempt.mayReturn;
      attempt.is = 'there';
      attempt.id = point.id;
    }
    const deleting = points.filter(({ state }) => state === 'deleting').length;
    for (const attempt of this.#attempts) {
      if (attempt.is === 'unknown' && !found.has(attempt) && deleting === 0 && unread === 0) attempt.is = 'gone';
      if (attempt.is !== 'there' || closed.has(attempt.machineId)) continue;
      expect(found.has(attempt), `${attempt.name}, byte ${attempt.byte}, is there`).toBe(true);
    }
    await this.#verify();
    for (const machineId of this.#unseen) {
      if (closed.has(machineId)) continue;
      this.#unseen.delete(machineId);
      for (const attempt of this.#attempts) if (attempt.machineId === machineId) attempt.mayReturn = false;
    }
  }

  #findingsOfDamage(): string[] {
    const allowed = ['WORK_INTERRUPTED', 'UNCLEAN_STOP', 'LOG_UNAVAILABLE', 'LOG_FENCED'];
    if (!this.#isSound) allowed.push('CATALOG_DAMAGED');
    return this.#store.findings.flatMap(({ code, file, message }) => {
      // Slots are torn by power cuts, and disks that a lost dump had are added anew.
      const isUsual = file.startsWith('catalog.slot') || (file.startsWith('live/') && code === 'CATALOG_DAMAGED');
      return isUsual || allowed.includes(code) ? [] : [`${code}: ${message}`];
    });
  }

  /** Everything works again, twice, and nothing is left over. */
  async #end(): Promise<void> {
    const { engine } = this.world;
    this.#calm();
    this.#areCopiesFailing = false;
    for (const id of this.#failingLogs) engine.failLog(storePath, id, null);
    this.#failingLogs.clear();
    await this.#store.close();
    this.#recorded = this.#recordedPoints();
    this.#store = await this.world.open();
    await this.#check();
    for (const machine of ['db', 'web']) {
      expect((await this.#capture(machine, true)).is).toBe('there');
    }
    // Copies, and deletions that went on.
    for (let turn = 0; turn < 200 && (await this.#store.status()).work.length + this.world.cuts.length > 0; turn += 1) {
      await quiet();
    }
    const copied = (await this.#store.restorePoints()).filter(({ state }) => state === 'copied');
    expect([this.world.cuts, (await this.#store.status()).work]).toEqual([[], []]);
    expect(this.world.manifests.sort()).toEqual(copied.map(({ id }) => id).sort());
    await this.#check();
    expect((await this.#store.verify()).findings).toEqual([]);
    await this.#store.close();
    this.#recorded = this.#recordedPoints();
    this.#isSound = true;
    this.#store = await this.world.open();
    await this.#check();
    const failed = (await this.#store.restorePoints()).filter(({ state }) => state === 'failed');
    expect(this.#store.findings.map(({ code }) => code)).toEqual(failed.map(() => 'WORK_INTERRUPTED'));
    await this.#store.close();
  }

  async #nameOf(machineId: string): Promise<string | null> {
    const machines = await this.#store.virtualMachines();
    return machines.find(({ id }) => id === machineId)?.name ?? null;
  }

  /** Nothing goes wrong any more; steps take their time. */
  #calm(): void {
    this.#failBatches(0, 0, full);
    this.#failStep(null);
  }

  #failBatches(from: number, count: number, error: StillpointError): void {
    let batch = -1;
    this.world.storage.onBatch = async () => {
      batch += 1;
      const own = batch;
      if (!this.world.hasEnded) await turns(this.#chance.below(3));
      if (own < from || own >= from + count) return;
      if (error === failing) this.#isFenced = true;
      throw error;
    };
  }

  #failStep(failingStep: string | null): void {
    this.world.onEngineStep = async (step) => {
      if (this.#areCopiesFailing && step === 'copy-before') throw full;
      if (step === failingStep) throw full;
      if (pausedSteps.includes(step) && !this.world.hasEnded) await turns(this.#chance.below(3));
    };
  }

  /** Proves that an error is one that a caller may get. */
  #expected(error: unknown): void {
    const isKnown = isProcessEnd(error) || (isStillpointError(error) && error.code !== 'INTERNAL');
    expect(isKnown, error instanceof Error ? error.stack : String(error)).toBe(true);
    if (isStillpointError(error, 'STORE_FENCED')) this.#isFenced = true;
  }
}

function describeOf({ reference, state, sequence, id }: RestorePoint): string {
  return `${reference} ${state} ${sequence} ${id}`;
}

describe('captures and deletions in any order, with anything that goes wrong,', () => {
  it('keep what was answered, and nothing else', async () => {
    await overSeeds({ suite: 'captures-random', quick: 300, full: 20_000 }, async (seed) => {
      const history = await History.make(seed);
      try {
        await history.run();
      } catch (error) {
        throw new Error(`${String(error)}\n${history.log.join('\n')}`, { cause: error });
      }
      return { histories: 1, captures: history.captureCount };
    });
  });
});
