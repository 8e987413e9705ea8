/**
 * What the guest boots: a kernel of Debian's and an initramfs with its modules and one program (init.c).
 *
 * The kernel's package is not installed, which would also make an initramfs for this machine and could not be done without root;
 * it is downloaded and unpacked into `.cache/guest`, once.
 */

import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

import { requireTool } from '../house/tools.js';

const execute = promisify(execFile);
const compiler = requireTool('gcc');
const apt = { get: requireTool('apt-get'), cache: requireTool('apt-cache'), unpack: requireTool('dpkg-deb') };

const program = fileURLToPath(new URL('init.c', import.meta.url));
const cache = fileURLToPath(new URL('../../.cache/guest/', import.meta.url));
const unpacked = path.join(cache, 'kernel');

/** Of Debian's newest cloud kernel; what else the guest needs is built in. */
const metaPackage = 'linux-image-cloud-amd64';
const wantedModules = ['virtio_pci', 'virtio_blk', 'xfs'];

export interface GuestImage {
  readonly kernel: string;
  readonly initramfs: Buffer;
}

/** Why the guest can not be made here; null when the kernel is there. Downloads it where it is not. */
export function reasonAgainstGuest(): string | null {
  if (process.arch !== 'x64') return 'need the processor that the kernel is for';
  if ([compiler, ...Object.values(apt)].some(({ isMissing }) => isMissing)) return 'need programs that are missing';
  if (existsSync(unpacked)) return null;
  try {
    download();
    return null;
  } catch (error) {
    return `need the package ${metaPackage}, which could not be downloaded (${String(error)})`;
  }
}

/** The kernel, and an initramfs made of what init.c says now. */
export async function guestImage(folder: string): Promise<GuestImage> {
  const init = path.join(folder, 'init');
  await execute(compiler.path, ['-Os', '-static', '-Wall', '-Wextra', '-Werror', '-o', init, program]);
  const kernel = readdirSync(path.join(unpacked, 'boot')).find((name) => name.startsWith('vmlinuz-'));
  if (kernel === undefined) throw new Error(`no kernel in ${unpacked}`);
  const files = [{ name: 'init', bytes: await readFile(init), mode: 0o100755 }];
  for (const [index, file] of modulesInOrder().entries()) {
    const name = `modules/${String(index).padStart(2, '0')}.ko`;
    files.push({ name, bytes: readFileSync(file), mode: 0o100644 });
  }
  const folders = ['dev', 'modules'].map((name) => ({ name, bytes: Buffer.alloc(0), mode: 0o040755 }));
  return {
    kernel: path.join(unpacked, 'boot', kernel),
    initramfs: gzipSync(cpio([...folders, ...files]), { level: 1 }),
  };
}

function download(): void {
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(path.join(cache, 'new-'));
  const run = (file: string, ...args: string[]): string =>
    execFileSync(file, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const get = (...args: string[]): string => run(apt.get.path, '-o', 'APT::Sandbox::User=root', '-qq', ...args);
  const fetch = (): void => {
    const name = /Depends: (linux-image-\S+)/.exec(run(apt.cache.path, 'depends', metaPackage))?.[1];
    if (name === undefined) throw new Error(`${metaPackage} is unknown`);
    get('download', name);
  };
  try {
    try {
      fetch();
    } catch {
      get('update'); // the lists name what is no longer there, or there are none
      fetch();
    }
    const [archive] = readdirSync(folder);
    if (archive === undefined) throw new Error('nothing was downloaded');
    run(apt.unpack.path, '--extract', archive, 'kernel');
    // Where another run was faster, its kernel is as good.
    if (!existsSync(unpacked)) renameSync(path.join(folder, 'kernel'), unpacked);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The wanted modules, each after those that it depends on. */
function modulesInOrder(): string[] {
  const files = new Map<string, string>();
  for (const entry of readdirSync(path.join(unpacked, 'lib/modules'), { recursive: true, encoding: 'utf8' })) {
    if (entry.endsWith('.ko'))
      files.set(moduleName(path.basename(entry, '.ko')), path.join(unpacked, 'lib/modules', entry));
  }
  const ordered = new Set<string>();
  const add = (name: string): void => {
    const file = files.get(name);
    if (file === undefined) throw new Error(`the kernel has no module ${name}`);
    for (const needed of dependencies(file)) add(needed);
    ordered.add(file);
  };
  for (const name of wantedModules) add(name);
  return [...ordered];
}

/** The line `depends=a,b` of a module's own description. */
function dependencies(file: string): string[] {
  const names = /\0depends=([^\0]*)\0/.exec(readFileSync(file, 'latin1'))?.[1] ?? '';
  return names
    .split(',')
    .filter((name) => name !== '')
    .map(moduleName);
}

function moduleName(name: string): string {
  return name.replaceAll('-', '_');
}

interface Entry {
  readonly name: string;
  readonly bytes: Buffer;
  readonly mode: number;
}

/** An archive in the format `newc`, which is what the kernel unpacks (its Documentation/driver-api/early-userspace/buffer-format.rst). */
function cpio(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  const trailer = { name: 'TRAILER!!!', bytes: Buffer.alloc(0), mode: 0 };
  for (const [index, { name, bytes, mode }] of [...entries, trailer].entries()) {
    const fields = [index + 1, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length + 1, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    parts.push(padded(Buffer.from(`${header}${name}\0`)), padded(bytes));
  }
  return Buffer.concat(parts);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
