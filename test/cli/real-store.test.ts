/** The main job through the command line and the real library: what comes back is what went in. */

import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { commandClock } from '../../src/control/clock.js';
import { library } from '../../src/control/library.js';
import { run } from '../../src/cli/run.js';
import { KeepingStream, wordsOf } from './fake-shell.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'stillpoint-test-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** Runs a command line with `--json` and gives what it printed, on whichever stream. */
async function type(line: string): Promise<{ code: number; answer: Record<string, unknown> }> {
  const stream = new KeepingStream();
  const code = await run([...wordsOf(line), '--json'], {
    stdout: stream,
    stderr: stream,
    environment: {},
    workingDirectory: directory,
    library,
    clock: commandClock,
    zoneOffsetMinutes: () => 0,
    signal: new AbortController().signal,
  });
  return { code, answer: JSON.parse(stream.text) as Record<string, unknown> };
}

/** The same for one that has to succeed. */
async function done(line: string): Promise<Record<string, unknown>> {
  const { code, answer } = await type(line);
  expect({ line, code, answer: code === 0 ? null : answer }).toEqual({ line, code: 0, answer: null });
  return answer;
}

const image = (): string => join(directory, 'os.raw');

/** Writes the image, and resolves when it has been still for as long as a capture asks for. */
async function writeImage(bytes: Buffer, length: number): Promise<void> {
  writeFileSync(image(), bytes);
  truncateSync(image(), length);
  while (Date.now() - statSync(image()).ctimeMs < 40) await pause(10);
}

test('capture, diff, restore, verify, delete and gc work on a real image', async () => {
  const first = Buffer.alloc(1_048_576, 'first contents of the image ');
  const second = Buffer.from(first);
  second.fill('changed', 8192, 12_288);
  await writeImage(first, 4 * 1_048_576);
  await done('init');
  await done('vm create web1 --external os=os.raw');
  await done('capture web1 --name before');
  await writeImage(second, 4 * 1_048_576);
  await done('capture web1 --name after --consistency crash');

  const { value } = await done('list web1');
  expect(value).toMatchObject([{ reference: 'web1/default/before' }, { reference: 'web1/default/after' }]);
  expect(await done('diff web1/before web1/after --granularity 4KiB')).toEqual({
    sizeBefore: 4_194_304,
    sizeAfter: 4_194_304,
    granularity: 4096,
    extents: [{ offset: 8192, length: 4096, kind: 'data' }],
  });
  await done('restore web1/before --to before.raw --no-sync');
  await done('portable-restore web1/after --disk os --to after.raw');
  expect(readFileSync(join(directory, 'before.raw')).subarray(0, first.length).equals(first)).toBe(true);
  expect(readFileSync(join(directory, 'after.raw')).equals(readFileSync(image()))).toBe(true);
  expect(await done('verify --read-data')).toMatchObject({ findings: [], pointsChecked: 2 });
  expect(await done('status')).toMatchObject({ machines: 1, points: 2, lockedByOther: false });

  expect((await type('capture web1 --consistency application')).answer).toMatchObject({
    error: { code: 'NO_WRITERS' },
  });
  expect((await type('restore web1/after --to before.raw')).answer).toMatchObject({ error: { code: 'TARGET_EXISTS' } });
  expect((await type('vm delete web1')).answer).toMatchObject({ error: { code: 'MACHINE_NOT_EMPTY' } });
  expect(await done('delete web1/before web1/after')).toEqual({
    deleted: ['web1/default/before', 'web1/default/after'],
  });
  expect(await done('gc')).toMatchObject({ dryRun: false });
  expect(await done('vm delete web1')).toEqual({ deleted: ['web1'] });
});

test('status, list and show look at a store that another holder has locked', async () => {
  await writeImage(Buffer.alloc(65_536, 1), 65_536);
  await done('init');
  await done('vm create web1 --external os=os.raw');
  await done('capture web1 --name only');
  const holder = await library.openStore({ path: join(directory, '.stillpoint') });
  try {
    expect(await done('status')).toMatchObject({ lockedByOther: true, readOnly: true });
    expect(await done('list')).toMatchObject({ readOnly: true, value: [{ name: 'only' }] });
    expect(await done('show web1/only')).toMatchObject({ readOnly: true, name: 'only' });
    expect(await done('vm list')).toMatchObject({ readOnly: true, value: [{ name: 'web1' }] });
    expect((await type('capture web1')).answer).toMatchObject({ error: { code: 'STORE_LOCKED' } });
    await done('restore web1/only --to a.raw --read-only');
  } finally {
    await holder.close();
  }
});

test('bench finds real images identical', async () => {
  await writeImage(Buffer.alloc(300_032, 'bench'), 300_032);
  const result = await done('bench --images os.raw --dir .');
  expect(result).toMatchObject({ identical: true, directory: null, steps: [{ step: 'captureFirst' }, {}, {}, {}, {}] });
});

test('verify reports and ends with 1 also where opening has put the damage right', async () => {
  await writeImage(Buffer.alloc(65_536, 'contents '), 65_536);
  await done('init');
  await done('vm create web1 --external os=os.raw');
  const { id } = await done('capture web1 --name rp1');
  const slot = join(directory, '.stillpoint/catalog.slot-a');
  const bytes = readFileSync(slot);
  bytes[40] = (bytes[40] ?? 0) ^ 1;
  writeFileSync(slot, bytes);

  const found = await type('verify --read-data');
  expect(found).toMatchObject({
    code: 1,
    answer: { findings: [{ file: 'catalog.slot-a', code: 'CATALOG_DAMAGED', hits: [] }] },
  });
  expect(await done('verify --read-data')).toMatchObject({ findings: [] });

  const manifests = join(directory, '.stillpoint/home/manifests');
  expect(readdirSync(manifests)).toEqual([`${String(id)}.manifest`]);
  rmSync(join(manifests, `${String(id)}.manifest`));
  for (let round = 0; round < 2; round += 1) {
    expect(await type('verify')).toMatchObject({
      code: 1,
      answer: {
        findings: [
          {
            file: `home/manifests/${String(id)}.manifest`,
            code: 'RESTORE_POINT_LOST',
            hits: [{ point: 'web1/default/rp1', disk: 'os', ranges: [{ offset: 0, length: 65_536 }] }],
          },
        ],
      },
    });
  }
});
