/** File systems of a few MiB, mounted for one test: one in memory, one on a loop device. */

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import process from 'node:process';

import { onTestFinished } from 'vitest';

import { requireTool } from '../house/tools.js';
import { isRoot, leftOut } from './rights.js';
import { temporaryFolder } from './temporary.js';

const mount = requireTool('mount');
const mke2fs = requireTool('mke2fs');

/** The kinds there are. */
export type SmallFileSystem = 'tmpfs' | 'ext4';

function canMount(): boolean {
  if (!isRoot || mount.isMissing || mke2fs.isMissing) return false;
  try {
    // A mount name space of its own, gone with its process: asks for the right without touching anything.
    execFileSync('unshare', ['--mount', mount.path, '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Whether tests of full file systems are left out; says so at the end of the run. */
export const cannotMount: boolean = leftOut(!canMount(), 'full file systems and mounts, which need root');

/** Whether tests of file systems on loop devices, which containers may lack, are left out; with CI=true they fail instead. */
export function cannotLoop(isCi: boolean = process.env['CI'] === 'true'): boolean {
  const cannot = cannotMount || leftOut(!existsSync('/dev/loop-control'), 'file systems on loop devices');
  if (cannot && isCi) throw new Error('root or loop devices are missing, and CI=true skips nothing');
  return cannot;
}

/** Mounts a new file system and gives its folder; unmounted and gone when the test has ended. */
export function smallFileSystem(kind: SmallFileSystem, bytes: number): string {
  const folder = temporaryFolder();
  const at = path.join(folder, 'mounted');
  mkdirSync(at);
  if (kind === 'tmpfs') execFileSync(mount.path, ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', at]);
  else {
    const image = path.join(folder, 'file-system.raw');
    writeFileSync(image, '');
    truncateSync(image, bytes);
    // No blocks kept back for root, and no journal: a few MiB hold neither.
    execFileSync(mke2fs.path, ['-q', '-t', 'ext4', '-m', '0', '-O', '^has_journal', image]);
    execFileSync(mount.path, ['-o', 'loop', image, at]);
    rmSync(path.join(at, 'lost+found'), { recursive: true });
  }
  onTestFinished(() => {
    execFileSync('umount', [at]);
  });
  return at;
}

/** The device that is mounted at a folder. */
export function deviceOf(folder: string): string {
  const line = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((each) => each.split(' ')[1] === folder);
  const device = line?.split(' ')[0];
  if (device === undefined) throw new Error(`nothing is mounted at ${folder}`);
  return device;
}

/** Takes all the space that a file system has left, in a file of its own that can be removed again. */
export function fill(folder: string): string {
  const file = path.join(folder, 'filler');
  const handle = openSync(file, 'w');
  try {
    for (let step = 65_536; step >= 512; step /= 8) writeUntilFull(handle, step);
  } finally {
    closeSync(handle);
  }
  return file;
}

function writeUntilFull(handle: number, step: number): void {
  const block = Buffer.alloc(step, 1);
  try {
    while (writeSync(handle, block) === step);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
  }
}

/** Bytes that can still be written. */
export function bytesFree(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}
