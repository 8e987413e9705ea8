/**
 * Law: wherever the power fails under a process that writes to live disks, what was acknowledged before the last acknowledged flush
 * is there, every answered point is intact, and all disks of a machine are one prefix of what was written.
 *
 * Real file systems whose disk is taken away in mid-flight (power-cut-file-system.ts), so that a missing sync loses data. The
 * process goes on for a moment without power: what it acknowledges then counts too.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, it } from 'vitest';

import { seededRandom } from '../../src/testing/index.js';
import { overSeeds } from '../house/seed-range.js';
import { createLiveStore, Ledger } from './live-ledger.js';
import { CuttableFileSystem, powerCutsAreMissing, type FileSystem } from './power-cut-file-system.js';

const liveProcess = fileURLToPath(new URL('live-process.mjs', import.meta.url));
const kinds: readonly FileSystem[] = ['ext4', 'xfs'];
const fileSystemBytes = 2 ** 30;

/** How long the process goes on without power. */
const afterCutMsMax = 40;

function opened(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout?.once('data', () => resolve());
    child.once('exit', () => reject(new Error('the process ended before it had opened the store')));
  });
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}

describe.skipIf(powerCutsAreMissing())('a process that writes to live disks when the power fails', () => {
  describe.each(kinds)('on %s', (kind) => {
    let folder: string;
    let ledger: Ledger;
    let disk: CuttableFileSystem;

    beforeAll(async () => {
      folder = await mkdtemp(path.join(tmpdir(), `stillpoint-power-${kind}-`));
      mkdirSync(path.join(folder, 'said'));
      ledger = new Ledger(path.join(folder, 'said'));
      disk = new CuttableFileSystem(folder, kind);
      await disk.format(fileSystemBytes);
      await disk.mountPlain();
      await createLiveStore(path.join(disk.place, 'store'));
      await disk.unmount();
    });

    afterAll(async () => {
      await disk.unmount();
      await rm(folder, { recursive: true, force: true });
    });

    it('loses nothing that it was told is durable', { timeout: 7_200_000 }, async () => {
      await overSeeds({ suite: `power-cut-live-${kind}`, quick: 2, full: 100 }, async (seed) => {
        const [high = 0, low = 0, after = 0] = seededRandom(seed).bytes(3);
        const storePath = path.join(disk.place, 'store');
        await disk.mountCuttable();
        ledger.begin();
        const child = spawn(process.execPath, [liveProcess, storePath, path.join(folder, 'said'), String(seed)], {
          // What it says when its disk is gone is no news.
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        await opened(child);
        await pause((high * 256 + low) % 400);
        disk.cutPower();
        await pause(after % afterCutMsMax);
        child.kill('SIGKILL');
        await ended(child);
        await disk.unmount();

        await disk.mountPlain();
        const { operations, points, copied } = await ledger.check(storePath, 'power');
        await disk.unmount();
        return { cuts: 1, 'operations kept': operations, 'points checked': points, 'copies resumed': copied };
      });
    });
  });
});
