/**
 * A simulated world: the real engine over a file system in memory, with injected faults, time and ids.
 *
 * What happens in it follows from its seed and the calls made, so a failing run can be repeated. The file system knows
 * what a sync has made durable; `crash` gives the world that a kill or a power cut would leave, as another one. The
 * catalog of a store in it keeps whatever it acknowledged (LevelDB itself is not simulated), and takes nothing after a
 * planned crash.
 */

import { engineInWorld, newNativeWorld, type FaultRecord, type NativeWorld } from '../native/binding.js';
import type { Parts } from '../store/parts.js';
import { manualClock, type ManualClock } from './clock.js';
import { MemoryCatalogs } from './memory-catalog.js';
import type { Random } from '../store/random.js';
import { seededRandom } from './random.js';

/** One thing that goes wrong while a store is open. Calls, syncs and reads are each counted from 0 at its open. */
export type Fault =
  /** A call fails with EIO, ENOSPC or EACCES: this one, or with `sticky` every later one too. */
  | { readonly kind: 'failCall'; readonly at: number; readonly failure?: Failure; readonly sticky?: boolean }
  /** A sync fails, and what it should have made durable never is. */
  | { readonly kind: 'failSync'; readonly at: number; readonly failure?: Failure; readonly sticky?: boolean }
  /** From this call on nothing has an effect; with `tornSeed`, a write at that moment leaves some of its sectors. */
  | { readonly kind: 'crash'; readonly at: number; readonly tornSeed?: number }
  /** One bit of what a read returns is wrong; what is stored stays right. */
  | { readonly kind: 'flipReadBit'; readonly at: number; readonly bit: number };

/** What a call fails with: EIO, ENOSPC or EACCES. */
export type Failure = 'device' | 'noSpace' | 'access';

/** What the medium keeps: all, only what was synced, or an arbitrary part that follows from the seed. */
export type CrashChoice = 'processKilled' | 'loseUnsynced' | 'keepAll' | 'seeded';

/** How to make a world. */
export interface WorldOptions {
  /** Ids and torn writes follow from it; 0 to 2^32 - 1. */
  readonly seed: number;
  /** The time to begin with; 2026-11-23T04:28:14Z when left out. */
  readonly nowMs?: number;
  /** Packs are closed once they are this long, 64 KiB when left out: small, so that little data makes many packs. */
  readonly packBytesTarget?: number;
}

/** A file system with everything that is in it. */
export class World {
  /** The time of this world. Move it past 20 ms after writing to a source, or a capture fails with `SOURCE_NOT_STILL`. */
  readonly clock: ManualClock;
  readonly #native: NativeWorld;
  readonly #catalogs: MemoryCatalogs;
  readonly #options: WorldOptions;
  readonly #random: Random;
  #faults: readonly Fault[] = [];

  private constructor(native: NativeWorld, catalogs: MemoryCatalogs, options: WorldOptions, nowMs: number) {
    this.#native = native;
    this.#catalogs = catalogs;
    this.#options = options;
    this.#random = seededRandom((options.seed ^ nowMs) >>> 0);
    const clock = manualClock(nowMs);
    const tellEngine = (): void => {
      native.setTimeMs(clock.nowMs());
    };
    this.clock = {
      nowMs: () => clock.nowMs(),
      advance: (byMs) => {
        clock.advance(byMs);
        tellEngine();
      },
      set: (ms) => {
        clock.set(ms);
        tellEngine();
      },
    };
  }

  /** An empty world. */
  static create(options: WorldOptions): World {
    const nowMs = options.nowMs ?? manualClock().nowMs();
    return new World(newNativeWorld(options.seed, nowMs), new MemoryCatalogs(), options, nowMs);
  }

  /** What to hand to `createStore` and `openStore`: the engine, catalog, time and ids of this world. */
  parts(): Parts {
    const faults = (): FaultRecord[] => this.#faults.map(toRecord);
    return {
      engine: engineInWorld(this.#native, this.#options.packBytesTarget ?? 64 * 1024, faults),
      catalog: this.#catalogs.at(() => this.#native.hasCrashed),
      clock: this.clock,
      random: this.#random,
    };
  }

  /** Plans what goes wrong with the stores that are opened from now on; nothing, with an empty list. */
  plan(faults: readonly Fault[]): void {
    this.#faults = faults;
  }

  /** The world after the machine stopped now. This one stays as it is, so that many can be made of one moment. */
  crash(choice: CrashChoice, seed: number = 0): World {
    const native = this.#native.crash(choice, seed);
    // A second later, so that ids of the world that goes on differ from those of this one.
    const next = new World(native, this.#catalogs.copy(), this.#options, this.clock.nowMs() + 1000);
    next.clock.advance(0);
    return next;
  }

  /** Puts a file there, durable, and moves the time on so that it is still. */
  installFile(path: string, bytes: Uint8Array): void {
    this.#native.installFile(path, bytes);
    this.clock.advance(1000);
  }

  /** Writes into a file, durable, and moves the time on. */
  writeFile(path: string, offset: number, bytes: Uint8Array): void {
    this.#native.writeFile(path, offset, bytes);
    this.clock.advance(1000);
  }

  /** Makes a hole in a file, durable, and moves the time on. */
  punchHole(path: string, offset: number, length: number): void {
    this.#native.punchHole(path, offset, length);
    this.clock.advance(1000);
  }

  /** Sets a file's length, durable, and moves the time on. */
  setLength(path: string, length: number): void {
    this.#native.setLength(path, length);
    this.clock.advance(1000);
  }

  /** A file's bytes; null when there is none. */
  readFile(path: string): Uint8Array | null {
    return this.#native.readFile(path);
  }

  /** All files, sorted. */
  files(): readonly string[] {
    return this.#native.files();
  }

  /** Flips one bit of what is stored: rot. */
  flipBit(path: string, offset: number, bit: number): void {
    this.#native.flipBit(path, offset, bit);
  }

  /** Limits the space of the file system; null lifts the limit. */
  setCapacity(bytes: number | null): void {
    this.#native.setCapacity(bytes);
  }

  /** How many calls, syncs and reads the newest store has made: the range that faults can be planned in. */
  counts(): { readonly calls: number; readonly syncs: number; readonly reads: number } {
    return this.#native.counts();
  }

  /** Whether the newest store's planned crash has come. */
  get hasCrashed(): boolean {
    return this.#native.hasCrashed;
  }

  /** Equal for equal file systems. */
  digest(): string {
    return this.#native.digest();
  }

  /** The newest store's faults and calls, a line each, for the message of a failing test. */
  log(): string {
    return this.#native.log();
  }
}

function toRecord(fault: Fault): FaultRecord {
  const { kind, at } = fault;
  switch (fault.kind) {
    case 'failCall':
    case 'failSync':
      return { kind, at, failure: fault.failure ?? 'device', sticky: fault.sticky ?? false };
    case 'crash':
      return fault.tornSeed === undefined ? { kind, at } : { kind, at, detail: fault.tornSeed };
    case 'flipReadBit':
      return { kind, at, detail: fault.bit };
  }
}
