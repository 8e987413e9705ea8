/**
 * A real file system on a disk that can be taken away in mid-flight, with all that its cache had not written.
 *
 *     ext4 or xfs -> loop device -> nbdfuse (a file that is an NBD export) -> nbdkit -> the backing file
 *
 * Killing nbdkit cuts the power: no write of the mounted file system reaches the backing file any more, so what it holds is what was
 * written out until then, and everything that was in the page cache alone is gone with the mount. nbdkit's own writes are in the
 * page cache of the machine, which goes on. The kernel has no device mapper everywhere, and copying the backing file of a plain
 * loop device while it is written to gives a mixture of moments that no disk ever had; here nothing can be written after the cut.
 */

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

import { unmount } from '../house/mounts.js';
import { noteSkipped, requireTool } from '../house/tools.js';

export type FileSystem = 'ext4' | 'xfs';

const execute = promisify(execFile);
const tools = {
  nbdkit: requireTool('nbdkit'),
  nbdfuse: requireTool('nbdfuse'),
  losetup: requireTool('losetup'),
  mount: requireTool('mount'),
  ext4: requireTool('mke2fs'),
  xfs: requireTool('mkfs.xfs'),
};

/** How long a program may take until what it makes is there. */
const waitedMsMax = 20_000;

function reasonAgainst(): string | null {
  if (Object.values(tools).some(({ isMissing }) => isMissing)) return 'need programs that are missing';
  if (process.getuid?.() !== 0) return 'mount file systems, which only root can';
  if (!existsSync('/dev/fuse')) return 'need /dev/fuse, which this kernel or container does not give';
  if (!existsSync('/dev/loop-control')) return 'need loop devices, which this kernel or container does not give';
  return null;
}

/** Whether power cuts are left out here; said once at the end of the run. With CI=true they are never left out. */
export function powerCutsAreMissing(): boolean {
  const reason = reasonAgainst();
  if (reason === null) return false;
  if (process.env['CI'] === 'true') throw new Error(`power cuts ${reason}, and CI=true skips nothing`);
  noteSkipped(`power cuts on real file systems: they ${reason}`);
  return true;
}

/** A file system whose disk can lose its power again and again; each time it is mounted with what was left. */
export class CuttableFileSystem {
  readonly #folder: string;
  readonly #kind: FileSystem;
  #server: ChildProcess | null = null;
  #fuse: ChildProcess | null = null;
  #loop: string | null = null;

  /** `folder` is for the backing file and all that belongs to it. */
  constructor(folder: string, kind: FileSystem) {
    this.#folder = folder;
    this.#kind = kind;
  }

  /** Where the file system is while it is mounted. */
  get place(): string {
    return this.#at('mounted');
  }

  /** Makes the file system. */
  async format(bytes: number): Promise<void> {
    mkdirSync(this.place, { recursive: true });
    writeFileSync(this.#backing, '');
    truncateSync(this.#backing, bytes);
    if (this.#kind === 'ext4') await execute(tools.ext4.path, ['-q', '-t', 'ext4', this.#backing]);
    else await execute(tools.xfs.path, ['-q', this.#backing]);
  }

  /** Mounts it on a disk whose power can be cut. */
  async mountCuttable(): Promise<void> {
    const socket = this.#at('socket');
    rmSync(socket, { force: true });
    this.#server = spawn(tools.nbdkit.path, ['-f', '-U', socket, 'file', this.#backing], { stdio: 'ignore' });
    await until(() => existsSync(socket), 'nbdkit listens');
    writeFileSync(this.#at('disk'), '');
    this.#fuse = spawn(tools.nbdfuse.path, [this.#at('disk'), `nbd+unix:///?socket=${socket}`], { stdio: 'ignore' });
    await until(() => statSync(this.#at('disk')).size > 0, 'nbdfuse shows the disk');
    const { stdout } = await execute(tools.losetup.path, ['--find', '--show', this.#at('disk')]);
    this.#loop = stdout.trim();
    await this.#mount(this.#loop);
  }

  /** Mounts what is in the backing file, as after a start with the power back; the file system's own recovery runs. */
  async mountPlain(): Promise<void> {
    await this.#mount(this.#backing, 'loop');
  }

  /** Kills the server: from here on nothing reaches the backing file. */
  cutPower(): void {
    this.#server?.kill('SIGKILL');
  }

  /** Takes away what is mounted, with or without power. */
  async unmount(): Promise<void> {
    await unmount(this.place);
    if (this.#loop !== null) await execute(tools.losetup.path, ['--detach', this.#loop]);
    this.#loop = null;
    if (this.#server !== null) {
      this.#server.kill('SIGKILL');
      await ended(this.#server);
      // With its server gone nbdfuse may end by itself, which leaves the file a dead mount.
      await unmount(this.#at('disk'), '--lazy');
      this.#fuse?.kill('SIGKILL');
      if (this.#fuse !== null) await ended(this.#fuse);
    }
    this.#server = null;
    this.#fuse = null;
  }

  async #mount(what: string, ...options: string[]): Promise<void> {
    const own = this.#kind === 'xfs' ? [...options, 'nouuid'] : options;
    await execute(tools.mount.path, [
      ...['-t', this.#kind],
      ...(own.length > 0 ? ['-o', own.join(',')] : []),
      ...[what, this.place],
    ]);
  }

  get #backing(): string {
    return this.#at('backing.raw');
  }

  #at(name: string): string {
    return path.join(this.#folder, name);
  }
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}

/** What a program does nobody tells; this looks until it is done. */
async function until(isDone: () => boolean, what: string): Promise<void> {
  for (let waitedMs = 0; !isDone(); waitedMs += 5) {
    if (waitedMs > waitedMsMax) throw new Error(`waited ${waitedMsMax} ms, and not yet: ${what}`);
    await pause(5);
  }
}
