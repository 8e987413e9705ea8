/** A store with the machine `web1`, which boots from its disk `os` (ext4) and has another, `data` (xfs). */

import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';

import { createStore, openStore, type Store } from '../../src/index.js';
import { noteSkipped, requireTool } from '../house/tools.js';
import { still } from '../input/temporary.js';
import { ExportedDisk, reasonAgainstMounting, type FileSystem } from './exported.js';
import { guestImage, reasonAgainstGuest } from './image.js';
import { GuestMachine, reasonAgainstMachine } from './machine.js';
import { recipe } from './recipe.js';
import { expectOneMoment, lastTransactions, type Found } from './transactions.js';

const execute = promisify(execFile);
const tools = {
  mke2fs: requireTool('mke2fs'),
  mkfsXfs: requireTool('mkfs.xfs'),
  extlinux: requireTool('extlinux'),
  mount: requireTool('mount'),
  umount: requireTool('umount'),
};

const MiB = 2 ** 20;
const osBytes = 192 * MiB;
/** The smallest that mkfs.xfs makes. */
const dataBytes = 320 * MiB;

const bootConfiguration = `DEFAULT guest
LABEL guest
  LINUX vmlinuz
  INITRD initramfs
  APPEND console=ttyS0 quiet panic=-1
`;

/** Whether tests with a guest are left out here; said once at the end of the run. With CI=true they are never left out. */
export function guestsAreMissing(): boolean {
  const missing = Object.values(tools).some(({ isMissing }) => isMissing);
  const reason = missing
    ? 'need programs that are missing'
    : (reasonAgainstMachine() ?? reasonAgainstMounting() ?? reasonAgainstGuest());
  if (reason === null) return false;
  if (process.env['CI'] === 'true') throw new Error(`tests with a guest ${reason}, and CI=true skips nothing`);
  noteSkipped(`tests with a real guest in QEMU: they ${reason}`);
  return true;
}

/** Where a moment of both disks is to be had, and what the guest had committed before it. */
export interface Moment {
  readonly point: string;
  readonly committed: readonly number[];
}

export class GuestStage {
  readonly folder: string;
  readonly storePath: string;
  readonly socket: string;
  #store: Store | null = null;
  #disks = 0;

  private constructor(folder: string) {
    this.folder = folder;
    this.storePath = path.join(folder, 'store');
    this.socket = path.join(folder, 'nbd.sock');
  }

  /** The store is open and served when this resolves. */
  static async make(): Promise<GuestStage> {
    const stage = new GuestStage(await mkdtemp(path.join(tmpdir(), 'stillpoint-guest-')));
    try {
      await stage.#make();
    } catch (error) {
      await stage.end();
      throw error;
    }
    return stage;
  }

  get store(): Store {
    if (this.#store === null) throw new Error('the store is not open');
    return this.#store;
  }

  async open(): Promise<void> {
    this.#store = await openStore({ path: this.storePath });
  }

  async serve(): Promise<void> {
    await this.store.serveNbd({ listen: [{ unix: this.socket }] });
  }

  async close(): Promise<void> {
    await this.#store?.close();
    this.#store = null;
  }

  /** Boots the machine, or a point of it, as docs/nbd.md has it under the heading. */
  boot(heading: string): GuestMachine {
    return new GuestMachine(recipe(heading, this.socket));
  }

  /** Recovers a scratch copy of a point as its machine would, and has everything looked through. */
  async checkMoment({ point, committed }: Moment): Promise<Found> {
    const [os, data] = await Promise.all([this.#recovered(point, 'os', 'ext4'), this.#recovered(point, 'data', 'xfs')]);
    expectOneMoment({ os, data }, committed, point);
    return { os, data };
  }

  async end(): Promise<void> {
    await this.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #make(): Promise<void> {
    await createStore({ path: this.storePath });
    await this.open();
    await this.serve();
    await this.store.importDisk({ name: 'web1-os', path: await this.#bootImage() });
    await this.store.createDisk({ name: 'web1-data', sizeBytes: dataBytes });
    await this.store.createVirtualMachine({ name: 'web1', disks: { os: 'web1-os', data: 'web1-data' } });
    const data = await this.#exported('web1/data');
    try {
      await execute(tools.mkfsXfs.path, ['-q', data.device]);
    } finally {
      await data.close();
    }
  }

  async #recovered(point: string, role: string, kind: FileSystem): Promise<number[]> {
    const disk = await this.#exported(`scratch:web1/${point}/${role}`);
    try {
      const found = await disk.mounted(kind, lastTransactions);
      await disk.check(kind);
      return found;
    } finally {
      await disk.close();
    }
  }

  #exported(name: string): Promise<ExportedDisk> {
    this.#disks += 1;
    return ExportedDisk.open(this.socket, name, path.join(this.folder, `exported-${this.#disks}`));
  }

  /** An ext4 with kernel, initramfs and boot loader. */
  async #bootImage(): Promise<string> {
    const image = path.join(this.folder, 'os.raw');
    const place = path.join(this.folder, 'os');
    const guest = await guestImage(this.folder);
    mkdirSync(place);
    writeFileSync(image, '');
    truncateSync(image, osBytes);
    // The boot loader reads no file system with 64-bit block numbers.
    await execute(tools.mke2fs.path, ['-q', '-t', 'ext4', '-O', '^64bit', image]);
    await execute(tools.mount.path, ['-o', 'loop', image, place]);
    try {
      copyFileSync(guest.kernel, path.join(place, 'vmlinuz'));
      writeFileSync(path.join(place, 'initramfs'), guest.initramfs);
      writeFileSync(path.join(place, 'extlinux.conf'), bootConfiguration);
      await execute(tools.extlinux.path, ['--install', place]);
    } finally {
      await execute(tools.umount.path, [place]);
    }
    await still(image);
    return image;
  }
}
