/** The main job through the command line and the real library: what comes back is what went in. */

import { readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { library } from '../../src/control/library.js';
import { RealShell } from './real-shell.js';

const shell = new RealShell();
const type = shell.type.bind(shell);
const done = shell.done.bind(shell);

const image = (): string => join(shell.directory, 'os.raw');

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
  for (const command of ['restore', 'portable-restore']) {
    expect(await done(`${command} web1/after --to-directory ${command}/of/web1`)).toMatchObject({
      point: 'web1/default/after',
      disks: [{ disk: 'os', to: join(shell.directory, command, 'of/web1/os.raw'), sizeBytes: 4_194_304 }],
    });
    expect(readFileSync(join(shell.directory, command, 'of/web1/os.raw')).equals(readFileSync(image()))).toBe(true);
    for (const words of ['web1/after --disk tmp', 'web1/never']) {
      const { answer } = await type(`${command} ${words} --to-directory x/y`);
      expect(answer).toMatchObject({ error: { code: words === 'web1/never' ? 'POINT_NOT_FOUND' : 'DISK_NOT_FOUND' } });
      expect(readdirSync(shell.directory)).not.toContain('x');
    }
  }
  expect(readFileSync(join(shell.directory, 'before.raw')).subarray(0, first.length).equals(first)).toBe(true);
  expect(readFileSync(join(shell.directory, 'after.raw')).equals(readFileSync(image()))).toBe(true);
  expect(await done('verify --read-data')).toMatchObject({ findings: [], pointsChecked: 2 });
  expect(await done('status')).toMatchObject({ machines: 1, points: 2, lockedByOther: false });
  expect(await done('stats web1')).toMatchObject({
    store: { logicalBytes: 2 * 4_194_304, dataBytes: 2 * 1_048_576, missing: 0 },
    machines: [{ machine: 'web1', points: 2 }],
    points: [{ point: 'web1/default/before' }, { point: 'web1/default/after' }],
  });

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
  const holder = await library.openStore({ path: join(shell.directory, '.stillpoint') });
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
  const slot = join(shell.directory, '.stillpoint/catalog.slot-a');
  const bytes = readFileSync(slot);
  bytes[40] = (bytes[40] ?? 0) ^ 1;
  writeFileSync(slot, bytes);

  const found = await type('verify --read-data');
  expect(found).toMatchObject({
    code: 1,
    answer: { findings: [{ file: 'catalog.slot-a', code: 'CATALOG_DAMAGED', hits: [] }] },
  });
  expect(await done('verify --read-data')).toMatchObject({ findings: [] });

  const manifests = join(shell.directory, '.stillpoint/home/manifests');
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
