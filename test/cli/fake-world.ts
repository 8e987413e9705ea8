/**
 * What a fake library keeps between openings: stores in memory, images that need not exist, and a clock that only
 * moves when work is done. Everything is a function of what was called before, so that its answers can be printed in
 * documents.
 */

import { createHash } from 'node:crypto';
import type { CommandClock } from '../../src/control/clock.js';
import type { ImageKind } from '../../src/images/image-kind.js';
import type { DiskInfo, RestorePoint, StoreInfo, VirtualMachine } from '../../src/index.js';

export const mebibyte: number = 1024 ** 2;

/** One store. */
export interface FakeStoreState {
  readonly info: StoreInfo;
  readonly machines: VirtualMachine[];
  readonly points: RestorePoint[];
  readonly disks: DiskInfo[];
  /** Bytes stored for points that were deleted since. */
  garbageBytes: number;
}

/** Everything outside the process that a command could meet. */
export class FakeWorld {
  readonly stores: Map<string, FakeStoreState> = new Map<string, FakeStoreState>();
  /** Sizes of images that exist only here; other paths are read from the file system. */
  readonly images: Map<string, number> = new Map<string, number>();
  /** Contents of captured real files, by point and role. */
  readonly contents: Map<string, Buffer> = new Map<string, Buffer>();
  /** Restored files that exist only here. */
  readonly files: Set<string> = new Set<string>();
  /** Stores that another process has open for writing. */
  readonly locked: Set<string> = new Set<string>();
  /** Stores that this user may not write. */
  readonly unwritable: Set<string> = new Set<string>();
  /** Images that are something else than raw. */
  readonly imageKinds: Map<string, ImageKind> = new Map<string, ImageKind>();
  /** Long calls tell half of their progress, then wait to be cancelled. */
  hangs = false;
  /** They do not heed that they are cancelled. */
  stubborn = false;
  /** Restored files differ from what was captured. */
  corrupts = false;
  /** Told when a long call hangs. */
  onHang: () => void = () => undefined;
  /** Thrown by long calls. */
  failure: Error | null = null;
  /** Findings of opening and of verification. */
  findings: { file: string; offset: number | null; length: number | null; code: string; message: string }[] = [];
  /** Extents that every diff yields; null for one of each kind. */
  extents: Iterable<{ offset: number; length: number; kind: 'data' | 'zero' }> | null = null;
  /** What was opened: `path` or `path (read-only)`. */
  readonly openings: string[] = [];
  /** Threads that the last opening asked for. */
  threads: number | null = null;
  /** Stores that are open now. */
  openCount = 0;
  #timeMs = Date.UTC(2026, 10, 23, 4, 28, 14);
  #ids = 0;

  readonly clock: CommandClock = {
    nowMs: () => this.#timeMs,
    monotonicMs: () => this.#timeMs,
  };

  /** Lets time pass. */
  pass(milliseconds: number): void {
    this.#timeMs += milliseconds;
  }

  /** A new id, 32 hexadecimal digits. */
  id(): string {
    this.#ids += 1;
    return createHash('md5').update(`id ${this.#ids}`).digest('hex');
  }
}
