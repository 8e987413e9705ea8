/**
 * Law: wherever a process that writes to live disks at full speed is killed, nothing that it acknowledged is lost, every
 * answered point is there and is one prefix of what was written, and copies go on.
 *
 * A real process on real files, SIGKILL at moments drawn from a seed; the store goes through all of them.
 */

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { seededRandom } from '../../src/testing/index.js';
import { overSeeds } from '../house/seed-range.js';
import { createLiveStore, Ledger } from './live-ledger.js';

const liveProcess = fileURLToPath(new URL('live-process.mjs', import.meta.url));

let folder: string;
let storePath: string;
let ledger: Ledger;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-kill-live-'));
  storePath = path.join(folder, 'store');
  ledger = new Ledger(folder);
  await createLiveStore(storePath);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs the process until it is killed, `afterMs` after it has opened the store. */
function killedAfter(afterMs: number, seed: number): Promise<NodeJS.Signals | null> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [liveProcess, storePath, folder, String(seed)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), afterMs));
    child.once('close', (_, signal) => resolve(signal));
  });
}

describe('a process that writes to live disks, killed at any moment,', () => {
  it('loses nothing that it acknowledged', { timeout: 7_200_000 }, async () => {
    await overSeeds({ suite: 'killed-live', quick: 10, full: 500 }, async (seed) => {
      const [high = 0, low = 0] = seededRandom(seed).bytes(2);
      ledger.begin();
      expect(await killedAfter((high * 256 + low) % 300, seed), 'the process ran until it was killed').toBe('SIGKILL');
      const { operations, points, copied } = await ledger.check(storePath, 'process');
      return { kills: 1, 'operations checked': operations, 'points checked': points, 'copies resumed': copied };
    });
  });
});
