/** Images that somebody writes to: before a capture, in the middle of it, or by putting another file in their place. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  openSync,
  renameSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import process from 'node:process';

import { describe, expect, it, onTestFinished } from 'vitest';

import { ended } from '../cli/compiled-cli.js';
import { codeOf, startCommand } from './command.js';
import { expectRefusal } from './refusal.js';
import { packsOf, slowContent, slowStore, unfinishedIn } from './slow-scan.js';
import { smallStore, stateOf, withOpen, type SmallStore } from './small-store.js';
import { noise, still, writeStill } from './temporary.js';

/** A process that writes one byte of a file over and over, until the test has ended. */
async function keepWriting(file: string): Promise<void> {
  const program = `
    const fs = require('node:fs');
    const file = fs.openSync(process.argv[1], 'r+');
    fs.writeSync(file, 'w', 0);
    process.stdout.write('writing');
    const write = () => { fs.writeSync(file, 'w', 0); setImmediate(write); };
    write();`;
  const child = spawn(process.execPath, ['-e', program, file], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  await once(child.stdout, 'data');
}

/** What somebody does to the image in the middle of a capture; `tail` is a place that was not read by then. */
const changes: readonly [string, (store: SmallStore, length: number) => void][] = [
  [
    'one byte is written at its end',
    ({ image }, length) => {
      const file = openSync(image, 'r+');
      writeSync(file, 'w', length - 1);
      closeSync(file);
    },
  ],
  [
    'one byte is written where it was read already',
    ({ image }) => {
      const file = openSync(image, 'r+');
      writeSync(file, 'w', 0);
      closeSync(file);
    },
  ],
  ['it is cut off', ({ image }, length) => truncateSync(image, length / 2)],
  ['it grows', ({ image }, length) => truncateSync(image, length + 4096)],
  ['it is removed', ({ image }) => unlinkSync(image)],
  [
    'another file is renamed over it',
    ({ image, at }, length) => {
      writeFileSync(at('other.raw'), noise(9, length));
      renameSync(at('other.raw'), image);
    },
  ],
];

describe('a capture is refused with SOURCE_CHANGED and undone', () => {
  it.each(changes)('when in the middle of it %s', async (_what, change) => {
    const store = await slowStore();
    const content = slowContent(2);
    const before = await stateOf(store.path);

    await writeStill(store.image, content);
    const began = unfinishedIn(packsOf(store));
    await withOpen(store.path, async (open) => {
      const capture = open.capture('web1', { name: 'torn' });
      const refused = expect(capture).rejects.toMatchObject({ code: 'SOURCE_CHANGED', kind: 'retry' });
      await began.seen;
      change(store, content.length);
      await refused;
    }).finally(() => began.stop());

    expect(await stateOf(store.path)).toEqual(before);
    await writeStill(store.image, noise(3, 65_536));
    await withOpen(store.path, async (open) => expect((await open.capture('web1')).state).toBe('copied'));
  });

  it('by the command too, with exit code 1', async () => {
    const store = await slowStore();
    const before = await stateOf(store.path);
    await writeStill(store.image, slowContent(2));
    const began = unfinishedIn(packsOf(store));

    const command = startCommand(['--store', store.path, '--threads', '1', '--json', 'capture', 'web1']);
    const end = ended(command);
    await began.seen;
    began.stop();
    truncateSync(store.image, 512);

    const result = await end;
    expect([codeOf(result), result.code, result.out]).toEqual(['SOURCE_CHANGED', 1, '']);
    expect(await stateOf(store.path)).toEqual(before);
  });
});

describe('a capture is refused with SOURCE_NOT_STILL', () => {
  it('while somebody writes to the image without end', async () => {
    const store = await smallStore();
    await keepWriting(store.image);

    await expectRefusal(
      store,
      { code: 'SOURCE_NOT_STILL', kind: 'retry' },
      { call: (open) => open.capture('web1'), words: ['capture', 'web1'] },
    );
  });
});

describe('an image whose time of modification somebody set', () => {
  it('to an earlier time cannot hide a change from the next point', async () => {
    const store = await smallStore();
    const other = noise(4, 524_288);
    await writeStill(store.image, other);
    utimesSync(store.image, new Date(0), new Date(0));
    await still(store.image);

    await withOpen(store.path, async (open) => {
      await open.capture('web1', { name: 'second' });
      const read = await open.read('web1/second', { disk: 'os', offset: 0, length: other.length });
      expect(Buffer.compare(read, other)).toBe(0);
    });
  });

  it('to a later time can be captured', async () => {
    const store = await smallStore();
    const later = new Date(Date.now() + 3_600_000);
    utimesSync(store.image, later, later);
    await still(store.image);

    await withOpen(store.path, async (open) => expect((await open.capture('web1')).state).toBe('copied'));
  });
});
