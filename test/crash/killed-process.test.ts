/**
 * Law: wherever a process that captures, deletes and collects is killed, the next open finds every acknowledged point
 * whole, no acknowledged deletion undone, and nothing damaged.
 *
 * Real processes, real files, SIGKILL at moments drawn from a seed; the store goes through all of them.
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createStore, openStore, type Store } from '../../src/index.js';
import { seededRandom } from '../../src/testing/index.js';
import { overSeeds } from '../house/seed-range.js';

const busyProcess = fileURLToPath(new URL('busy-process.mjs', import.meta.url));
const machine = 'busy';
const roles = ['os', 'data'];

/** What a point must be after a kill: SHA-256 of each disk; `certain` unless its capture or deletion was under way. */
interface Expected {
  readonly hashes: readonly string[];
  certain: boolean;
}

type Line =
  | { readonly will: 'capture'; readonly name: string; readonly hashes: readonly string[] }
  | { readonly did: 'capture' | 'delete'; readonly name: string }
  | { readonly will: 'delete'; readonly name: string }
  | { readonly will: 'collect' }
  | { readonly did: 'collect' | 'open' };

let folder: string;
let storePath: string;
const expected = new Map<string, Expected>();
let named = 0;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-kill-'));
  storePath = path.join(folder, 'store');
  await createStore({ path: storePath, chunkBytes: 16384 });
  for (const role of roles) await writeFile(path.join(folder, `${role}.raw`), new Uint8Array(3000 * 512));
  await using store = await openStore({ path: storePath });
  const disks = roles.map((role) => ({ role, external: path.join(folder, `${role}.raw`) }));
  await store.createVirtualMachine({ name: machine, disks });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs the busy process until it is killed, `afterMs` after it has opened the store. Resolves with its lines. */
async function killedAfter(afterMs: number, seed: number): Promise<Line[]> {
  const child = spawn(process.execPath, [busyProcess, storePath, folder, String(seed), String(named)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: Line[] = [];
  for await (const text of createInterface({ input: child.stdout })) {
    // A cast: the process beside this file writes these lines and no others.
    const line = JSON.parse(text) as Line;
    if ('did' in line && line.did === 'open') setTimeout(() => child.kill('SIGKILL'), afterMs);
    lines.push(line);
  }
  return lines;
}

/** What follows from the lines of a process that was killed. */
function learn(lines: readonly Line[]): void {
  for (const line of lines) {
    if ('will' in line && line.will === 'capture') {
      expected.set(line.name, { hashes: line.hashes, certain: false });
      named = Number(line.name.slice(1)) + 1;
    }
    if ('did' in line && line.did === 'capture') set(line.name, true);
    if ('will' in line && line.will === 'delete') set(line.name, false);
    if ('did' in line && line.did === 'delete') expected.delete(line.name);
  }
}

function set(name: string, certain: boolean): void {
  const point = expected.get(name);
  if (point !== undefined) point.certain = certain;
}

async function hashOf(store: Store, point: string, disk: string, size: number): Promise<string> {
  const hash = createHash('sha256');
  for (let offset = 0; offset < size; offset += 1 << 20) {
    hash.update(await store.read(point, { disk, offset, length: Math.min(1 << 20, size - offset) }));
  }
  return hash.digest('hex');
}

/** Opens the store and compares it with what is known. */
async function compare(): Promise<void> {
  await using store = await openStore({ path: storePath });
  const points = await store.restorePoints(machine);
  const names = new Set(points.map(({ name }) => name));
  for (const [name, point] of expected) {
    if (point.certain) expect(names, 'every acknowledged point is there').toContain(name);
    if (!names.has(name)) expected.delete(name);
  }
  for (const point of points) {
    const known = expected.get(point.name);
    expect(known, `${point.name} is no point of which anybody knows`).toBeDefined();
    expect(point.state).toBe('copied');
    const hashes: string[] = [];
    for (const { role, sizeBytes } of point.disks) hashes.push(await hashOf(store, point.reference, role, sizeBytes));
    expect(hashes, point.name).toEqual(known?.hashes);
    set(point.name, true);
  }
  expect((await store.verify({ readData: true })).findings).toEqual([]);
}

describe('a process killed at any moment', () => {
  it('loses nothing that it acknowledged', { timeout: 3_600_000 }, async () => {
    await overSeeds({ suite: 'killed-process', quick: 12, full: 200 }, async (seed) => {
      const moment = seededRandom(seed).bytes(2);
      const lines = await killedAfter(((moment[0] ?? 0) * 256 + (moment[1] ?? 0)) % 400, seed);
      learn(lines);
      await compare();
      const done = lines.filter((line) => 'did' in line && line.did !== 'open').length;
      return { kills: 1, 'acknowledged calls': done };
    });
  });
});
