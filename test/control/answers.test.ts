/** Every command answers over the control socket as it does in process. */

import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';

import { RealShell } from '../cli/real-shell.js';
import { ServedStore } from './served-store.js';

const inProcess = new RealShell();
const served = new RealShell();

async function writeImage(directory: string, fill: string): Promise<void> {
  const image = join(directory, 'os.raw');
  writeFileSync(image, Buffer.alloc(300_000, fill));
  truncateSync(image, 2 * 1_048_576);
  while (Date.now() - statSync(image).ctimeMs < 40) await pause(10);
}

/** What differs between two stores that have gone through the same: ids, times, paths, and speed. */
function plain(value: unknown, directory: string): unknown {
  const varying =
    /(Ms|PerSecond|percent|Percent)$|^(id|storeId|pid|lsn|logBytes|availableBytes|packBytes|manifestBytes|server)$/u;
  return JSON.parse(
    JSON.stringify(value, (name, each: unknown) => {
      if (name === 'server') return null;
      if (varying.test(name) && typeof each !== 'object') return `<${name}>`;
      if (typeof each !== 'string') return each;
      return each
        .replaceAll(directory, '<directory>')
        .replace(/[0-9a-f]{32}/gu, '<id>')
        .replace(/\d{4}-\d\d-\d\dT[0-9-]+Z/gu, '<time>');
    }),
  );
}

const lines = [
  'vm create ext --external os=os.raw',
  'vm create man --disk os=os.raw --resource-group prod',
  'vm create man --disk os=os.raw',
  'vm list',
  'vm show ext',
  'vm show none',
  'vm update ext --external more=more.raw',
  'vm update ext --remove-disk more',
  'capture ext --name one',
  'capture ext --name one',
  'capture man --name one --wait',
  'capture ext --name app --consistency application',
  'CHANGE',
  'capture ext --name two --collection daily',
  'list',
  'list ext',
  'list none',
  'reopen',
  'show ext/one',
  'show ext',
  'diff ext/one ext/daily/two',
  'diff ext/one ext/daily/two --granularity 4KiB --disk os',
  'diff ext/one ext/daily/two --summary',
  'diff ext/one ext/three',
  'restore ext/one --to one.raw',
  'restore ext/one --to one.raw',
  'restore ext/one --to one.raw --overwrite --no-sync',
  'restore man/one --to-directory all/of/man',
  'restore man/one --to-disk twin',
  'restore man/one --in-place',
  'restore man/one --to-vm clone',
  'disk create scratch --size 4MiB --operations-per-second 100',
  'disk import copy os.raw',
  'disk clone look man/one/os',
  'disk grow scratch --size 8MiB',
  'disk limit scratch',
  'disk attach man scratch --role swap',
  'disk attach man scratch --role swap',
  'disk detach scratch',
  'disk list',
  'disk delete look',
  'disk delete none',
  'hold ext/one --reason audit',
  'delete ext/one',
  'hold ext/one --release',
  'status',
  'stats ext',
  'verify --read-data',
  'delete ext/one ext/daily/two',
  'gc --dry-run',
  'gc --rate 1GiB',
  'vm delete ext',
  '__complete machine',
  '__complete point man/',
  '__complete role man',
  '__complete disk',
  'init',
];

test('each command line prints the same with a server as without', async () => {
  for (const { directory } of [inProcess, served]) await writeImage(directory, 'first contents ');
  for (const shell of [inProcess, served]) await shell.done('init');
  const holder = await ServedStore.in(served.directory);
  const answered: string[] = [];
  try {
    for (const line of lines) {
      if (line === 'CHANGE') {
        for (const { directory } of [inProcess, served]) await writeImage(directory, 'second contents ');
        continue;
      }
      const [here, there] = [await inProcess.type(line), await served.type(line)];
      const expected = { line, code: here.code, answer: plain(here.answer, inProcess.directory) };
      expect({ line, code: there.code, answer: plain(there.answer, served.directory) }).toEqual(expected);
      answered.push(line);
    }
    expect(readFileSync(join(served.directory, 'one.raw'))).toEqual(readFileSync(join(inProcess.directory, 'one.raw')));
  } finally {
    await holder.close();
  }
  expect(answered).toHaveLength(lines.length - 1);
}, 60_000);
