/**
 * An export of the server as a file, a block device and a mounted file system of this machine:
 *
 *     ext4 or xfs -> loop device -> nbdfuse (a file that is an NBD export) -> Stillpoint
 */

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

import { unmount } from '../house/mounts.js';
import { requireTool } from '../house/tools.js';

export type FileSystem = 'ext4' | 'xfs';

const execute = promisify(execFile);
const tools = {
  nbdfuse: requireTool('nbdfuse'),
  losetup: requireTool('losetup'),
  mount: requireTool('mount'),
  e2fsck: requireTool('e2fsck'),
  xfsRepair: requireTool('xfs_repair'),
};

/** How long a program may take until what it makes is there. */
const waitedMsMax = 20_000;

/** Why exports can not be mounted here; null when they can. */
export function reasonAgainstMounting(): string | null {
  if (Object.values(tools).some(({ isMissing }) => isMissing)) return 'need programs that are missing';
  if (process.getuid?.() !== 0) return 'mount file systems, which only root can';
  if (!existsSync('/dev/fuse')) return 'need /dev/fuse, which this kernel or container does not give';
  if (!existsSync('/dev/loop-control')) return 'need loop devices, which this kernel or container does not give';
  return null;
}

/** An export that stands as a block device until it is closed. */
export class ExportedDisk {
  readonly #folder: string;
  readonly #fuse: ChildProcess;
  readonly #ended: Promise<void>;
  #loop: string | null = null;

  private constructor(folder: string, fuse: ChildProcess) {
    this.#folder = folder;
    this.#fuse = fuse;
    this.#ended = new Promise((resolve) => fuse.once('close', () => resolve()));
  }

  /** `folder` is for the file and the place to mount at; it must not be there yet. */
  static async open(socket: string, name: string, folder: string): Promise<ExportedDisk> {
    mkdirSync(path.join(folder, 'mounted'), { recursive: true });
    const file = path.join(folder, 'disk');
    writeFileSync(file, '');
    const fuse = spawn(tools.nbdfuse.path, [file, `nbd+unix:///${name}?socket=${socket}`], { stdio: 'pipe' });
    let said = '';
    fuse.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()));
    const disk = new ExportedDisk(folder, fuse);
    try {
      // nbdfuse tells nobody when it is there.
      for (let waitedMs = 0; statSync(file).size === 0; waitedMs += 5) {
        if (fuse.exitCode !== null) throw new Error(`nbdfuse ended: ${said}`);
        if (waitedMs > waitedMsMax) throw new Error(`nbdfuse did not show ${name} within ${waitedMsMax} ms`);
        await pause(5);
      }
      const { stdout } = await execute(tools.losetup.path, ['--find', '--show', file]);
      disk.#loop = stdout.trim();
    } catch (error) {
      await disk.close();
      throw error;
    }
    return disk;
  }

  /** The block device. */
  get device(): string {
    if (this.#loop === null) throw new Error('the disk was closed');
    return this.#loop;
  }

  /** Mounts it, which recovers its journal, and unmounts it when the work is done. */
  async mounted<T>(kind: FileSystem, work: (place: string) => Promise<T>): Promise<T> {
    const place = path.join(this.#folder, 'mounted');
    // Several points of one xfs are mounted at a time, and all have its id.
    await execute(tools.mount.path, [
      '-t',
      kind,
      '-o',
      kind === 'xfs' ? 'noatime,nouuid' : 'noatime',
      this.device,
      place,
    ]);
    try {
      return await work(place);
    } finally {
      await unmount(place);
    }
  }

  /** Has the program of the file system look for damage; it throws where it finds any. The journal must be recovered. */
  async check(kind: FileSystem): Promise<void> {
    if (kind === 'ext4') await execute(tools.e2fsck.path, ['-f', '-n', this.device]);
    else await execute(tools.xfsRepair.path, ['-n', this.device]);
  }

  /** Gives the export back, and resolves when the client has gone. */
  async close(): Promise<void> {
    if (this.#loop !== null) await execute(tools.losetup.path, ['--detach', this.#loop]);
    this.#loop = null;
    const showedIt = await unmount(path.join(this.#folder, 'disk'));
    if (!showedIt) this.#fuse.kill('SIGKILL');
    await this.#ended;
  }
}
