/** Ctrl-C in the middle of a real command: exit code 130, CANCELLED, a store as it was, and no target. */

import { readdirSync, readlinkSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ChildProcess } from 'node:child_process';

import { describe, expect, it } from 'vitest';

import { ended, type Ended } from '../cli/compiled-cli.js';
import { codeOf, startCommand } from './command.js';
import { packsOf, slowContent, slowStore, unfinishedIn } from './slow-scan.js';
import { smallStore, stateOf, withOpen, type SmallStore } from './small-store.js';
import { noise, writeStill } from './temporary.js';

const MiB = 1024 ** 2;

/** How often a command may be over before the signal came: it is begun again then. */
const attemptsMax = 10;

/** Resolves when a process has a pack of a store open: it is reading data. */
async function readsPacks({ pid = 0, exitCode }: ChildProcess): Promise<void> {
  const descriptors = `/proc/${pid}/fd`;
  while (exitCode === null) {
    const open = namesIn(descriptors).map((name) => linkOf(`${descriptors}/${name}`));
    if (open.some((file) => file.endsWith('.chunks'))) return;
    if (open.length === 0) return;
    // The kernel tells nobody when a process opens a file, so this looks again.
    await nextTurn();
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkOf(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}

/** Starts a command, waits for its middle, sends SIGINT, and gives its end; again where it had ended by then. */
async function interrupted(
  { path }: SmallStore,
  words: readonly string[],
  middle: (command: ChildProcess) => { readonly seen: Promise<void>; stop?(): void },
  again: () => void | Promise<void> = () => undefined,
): Promise<Ended> {
  for (let attempt = 1; ; attempt += 1) {
    const command = startCommand(['--store', path, '--threads', '1', '--json', ...words]);
    const end = ended(command);
    const watched = middle(command);
    await Promise.race([watched.seen, end]);
    command.kill('SIGINT');
    const result = await end;
    watched.stop?.();
    if (result.code !== 0 || attempt === attemptsMax) return result;
    await again();
  }
}

function expectCancelled(result: Ended): void {
  expect({ code: codeOf(result), exit: result.code, out: result.out }).toEqual({
    code: 'CANCELLED',
    exit: 130,
    out: '',
  });
}

describe('Ctrl-C in the middle of', () => {
  it('capture leaves no point and no pack', async () => {
    const store = await slowStore();
    const before = await stateOf(store.path);
    await writeStill(store.image, slowContent(2));

    expectCancelled(await interrupted(store, ['capture', 'web1'], () => unfinishedIn(packsOf(store))));

    expect(await stateOf(store.path)).toEqual(before);
  });

  it('restore leaves no target and no part of one', async () => {
    const store = await smallStore({ content: noise(1, 96 * MiB) });
    const before = await stateOf(store.path);
    const names = readdirSync(store.folder);
    const to = store.at('target.raw');
    const words = ['restore', 'web1/first', '--to', to];

    expectCancelled(await interrupted(store, words, () => unfinishedIn(store.folder)));

    expect(readdirSync(store.folder)).toEqual(names);
    expect(await stateOf(store.path)).toEqual(before);
  });

  it('verify changes nothing', async () => {
    // Chunks that are nearly empty: reading them takes long, storing them does not.
    const content = Buffer.alloc(256 * MiB);
    for (let offset = 0; offset < content.length; offset += 65_536) content.writeUInt32LE(offset / 65_536 + 1, offset);
    const store = await smallStore({ content });
    const before = await stateOf(store.path);

    const words = ['verify', '--read-data'];
    expectCancelled(await interrupted(store, words, (command) => ({ seen: readsPacks(command) })));

    expect(await stateOf(store.path)).toEqual(before);
  });

  it('gc leaves every point readable, and the next gc finishes the work', async () => {
    // Every other chunk of the pack stays in use, so collecting writes it anew.
    const store = await smallStore({ content: noise(1, 64 * MiB), compression: 'none' });
    const half = noise(1, 64 * MiB);
    for (let offset = 0; offset < half.length; offset += 131_072) half.fill(0, offset, offset + 65_536);
    await writeStill(store.image, half);
    await withOpen(store.path, async (open) => {
      await open.capture('web1', { name: 'half' });
      await open.deletePoint('web1/first');
    });
    const before = await stateOf(store.path);

    const result = await interrupted(store, ['gc'], () => unfinishedIn(packsOf(store)));
    expect([codeOf(result), result.code]).toEqual(['CANCELLED', 130]);

    const { points, findings } = await stateOf(store.path);
    expect({ points, findings }).toEqual({ points: before.points, findings: [] });
    await withOpen(store.path, async (open) => {
      expect((await open.collect()).bytesFreed).toBeGreaterThan(30 * MiB);
      const read = await open.read('web1/half', { disk: 'os', offset: 0, length: half.length });
      expect(Buffer.compare(read, half)).toBe(0);
    });
  });
});
