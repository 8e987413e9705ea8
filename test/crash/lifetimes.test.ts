/**
 * Law: whoever ends in the middle of everything, a process by `process.exit` or a worker that is terminated, ends as Node.js says
 * and not by a signal; the store opens again, and is sound.
 */

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { openStore } from '../../src/index.js';
import { overSeeds } from '../house/seed-range.js';

const program = fileURLToPath(new URL('lifetimes-process.mjs', import.meta.url));
const workersEach = 5;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-lifetimes-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** How a process ended: its code or its signal, and what it said on stderr. */
function ended(...args: readonly string[]): Promise<{ end: number | string | null; said: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (text: Buffer) => (said += text.toString()));
    child.once('close', (code, signal) => resolve({ end: signal ?? code, said }));
  });
}

async function expectSound(storePath: string): Promise<void> {
  await using store = await openStore({ path: storePath });
  expect((await store.verify({ readData: true })).findings).toEqual([]);
}

describe('what ends in the middle of everything', { timeout: 7_200_000 }, () => {
  it('is no crash when a process exits', async () => {
    const storePath = path.join(folder, 'exits');
    await overSeeds({ suite: 'lifetimes-exit', quick: 6, full: 500 }, async (seed) => {
      expect(await ended('exit', storePath, String(seed))).toEqual({ end: 0, said: '' });
      return { exits: 1 };
    });
    await expectSound(storePath);
  });

  it('is no crash when workers are terminated', async () => {
    const storePath = path.join(folder, 'workers');
    await overSeeds({ suite: 'lifetimes-workers', quick: 1, full: 100 }, async (seed) => {
      expect(await ended('workers', storePath, String(seed), String(workersEach))).toEqual({ end: 0, said: '' });
      return { 'terminated workers': workersEach };
    });
    await expectSound(storePath);
  });
});
