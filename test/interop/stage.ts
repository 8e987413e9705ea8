/** A folder with a store in it, images beside it, and the programs that look at both. */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

import { createStore, openStore, type RestorePoint, type Store } from '../../src/index.js';
import type { Tool } from '../house/tools.js';

const execute = promisify(execFile);

/** How long a file has to have been still before it is captured, with room for a coarse clock. */
const stillMs = 40;

/** Runs a program and gives what it printed, on both streams. Throws where it ends with another code than 0. */
export async function run(tool: Tool, ...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await execute(tool.path, args, { maxBuffer: 64 << 20 });
  return stdout + stderr;
}

/** SHA-256 of a file or device. */
export async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

/** Bytes that a file takes on its file system. */
export async function allocatedBytes(file: string): Promise<number> {
  return (await stat(file)).blocks * 512;
}

export class Stage {
  readonly folder: string;
  readonly store: Store;

  private constructor(folder: string, store: Store) {
    this.folder = folder;
    this.store = store;
  }

  static async make(): Promise<Stage> {
    const folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-interop-'));
    const store = path.join(folder, 'store');
    await createStore({ path: store });
    return new Stage(folder, await openStore({ path: store }));
  }

  get storePath(): string {
    return this.at('store');
  }

  at(name: string): string {
    return path.join(this.folder, name);
  }

  /** Captures a machine, made at its first capture, whose one disk lies at the path. */
  async capture(machine: string, source: string, name: string): Promise<RestorePoint> {
    const machines = await this.store.virtualMachines();
    if (!machines.some((each) => each.name === machine)) {
      await this.store.createVirtualMachine({ name: machine, disks: [{ role: 'os', external: source }] });
    }
    for (;;) {
      const { ctimeMs } = await stat(source);
      if (Date.now() - ctimeMs >= stillMs) break;
      await pause(stillMs);
    }
    return this.store.capture(machine, { name });
  }

  /** Restores the disk of a point to a new file. */
  async restored(point: RestorePoint): Promise<string> {
    const to = this.at(`${point.machine}-${point.name}-restored.raw`);
    await this.store.restore(point.reference, { disk: 'os', to });
    return to;
  }

  async end(): Promise<void> {
    await this.store.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}
