/** A store that is served at a Unix socket, for the programs that speak NBD. */

import { execFile } from 'node:child_process';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';

import { createStore, openStore, type NbdServer, type Store } from '../../src/index.js';
import { noise } from '../input/temporary.js';
import type { Tool } from '../house/tools.js';

const execute = promisify(execFile);

export const KiB = 1024;
export const MiB: number = 1024 * KiB;

/** The URI of an export at a socket. */
export function uriOf(socket: string, name: string): string {
  return `nbd+unix:///${name}?socket=${socket}`;
}

/** The machine `vm` with managed disks, by role, which are called like their roles. */
export async function makeStore(storePath: string, disks: Readonly<Record<string, number>>): Promise<void> {
  await createStore({ path: storePath });
  const store = await openStore({ path: storePath });
  for (const [name, sizeBytes] of Object.entries(disks)) await store.createDisk({ name, sizeBytes });
  const roles = Object.fromEntries(Object.keys(disks).map((name) => [name, name]));
  await store.createVirtualMachine({ name: 'vm', disks: roles });
  await store.close();
}

export class ServedStage {
  readonly folder: string;
  readonly store: Store;
  readonly server: NbdServer;

  private constructor(folder: string, store: Store, server: NbdServer) {
    this.folder = folder;
    this.store = store;
    this.server = server;
  }

  /** Serves the machine `vm` with these disks, by name, in bytes. */
  static async make(disks: Readonly<Record<string, number>>): Promise<ServedStage> {
    const folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-nbd-'));
    const storePath = path.join(folder, 'store');
    await makeStore(storePath, disks);
    const store = await openStore({ path: storePath });
    return new ServedStage(folder, store, await store.serveNbd({ listen: [{ unix: path.join(folder, 'nbd.sock') }] }));
  }

  get socket(): string {
    return this.at('nbd.sock');
  }

  at(name: string): string {
    return path.join(this.folder, name);
  }

  uri(name: string): string {
    return uriOf(this.socket, name);
  }

  /** Captures the machine and waits for the copy. */
  async captured(name: string): Promise<void> {
    await (await this.store.capture('vm', { name })).copied();
  }

  async end(): Promise<void> {
    await this.store.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A sparse image: runs of noise at odd places, and zeros that take space. Shapes differ by seed. */
export async function sparseImage(file: string, sizeBytes: number, seed: number): Promise<void> {
  const image = await open(file, 'w');
  const places = noise(seed, 40);
  for (let index = 0; index < 10; index += 1) {
    const length = 512 * (1 + (places[index * 4] ?? 0)) * (1 + (index % 4) * 4);
    const at = Math.floor(((places.readUInt16BE(index * 4 + 1) / 65_536) * (sizeBytes - length)) / 512) * 512;
    await image.write(index === 9 ? Buffer.alloc(length) : noise(seed * 100 + index, length), 0, length, at);
  }
  await image.truncate(sizeBytes);
  await image.close();
}

/**
 * Runs a script of libnbd's shell, which is Python with a handle `h`, and gives what it printed. The module belongs to
 * Debian's own Python, so that one goes first.
 */
export async function python(nbdsh: Tool, script: string, ...args: readonly string[]): Promise<string> {
  const env = { ...process.env, PATH: `/usr/bin:${process.env['PATH'] ?? ''}` };
  const { stdout } = await execute(nbdsh.path, [...args, '-c', script], { env, maxBuffer: 64 << 20 });
  return stdout;
}
