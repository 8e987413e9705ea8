/** Law: every code of the error table can be met by whoever uses the library or the command line, or it is said why not. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { errorTable, openStore } from '../../src/index.js';
import { provocations, type OutOfReach, type Provoke, type SharedStore } from './provocations.js';
import { cannotMount } from './small-file-system.js';
import { smallStoreIn } from './small-store.js';

/** Those that only a device can give. */
const needsMount: readonly string[] = ['SOURCE_NOT_EXCLUSIVE'];

const rows = Object.entries(provocations);
const reachable = rows.filter((row): row is [string, Provoke] => typeof row[1] === 'function');
const outOfReach = rows.filter((row): row is [string, OutOfReach] => typeof row[1] !== 'function');
const errors = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');

let shared: SharedStore;

beforeAll(async () => {
  const store = await smallStoreIn(mkdtempSync(path.join(tmpdir(), 'stillpoint-codes-')));
  const open = await openStore({ path: store.path, threads: 1 });
  await open.capture('web1', { name: 'twice' });
  await open.capture('web1', { name: 'twice', collection: 'daily' });
  shared = { ...store, open };
});

afterAll(async () => {
  await shared.open.close();
  rmSync(shared.folder, { recursive: true, force: true });
});

describe('a code of the table', () => {
  it('is provoked here or said to be out of reach, each of them', () => {
    expect(rows.map(([code]) => code).sort()).toEqual(Object.keys(errorTable).sort());
  });

  it.each(reachable.filter(([code]) => !needsMount.includes(code)))('%s is met', async (code, provoke) => {
    expect(await provoke(shared)).toContain(code);
  });

  it.skipIf(cannotMount).each(reachable.filter(([code]) => needsMount.includes(code)))(
    '%s is met',
    async (code, provoke) => {
      expect(await provoke(shared)).toContain(code);
    },
  );

  it.each(outOfReach)('%s is out of reach, and its document says why', (code, { because }) => {
    const section = errors.split(/^## /m).find((each) => each.startsWith(`${code}\n`));
    expect(section?.replaceAll(/\s+/g, ' ')).toContain(because);
  });

  it('that was provoked has left the store as it was', async () => {
    const { findings } = await shared.open.verify({ readData: true });
    expect(findings).toEqual([]);
    expect((await shared.open.restorePoints()).map(({ reference }) => reference)).toEqual([
      'web1/default/first',
      'web1/default/twice',
      'web1/daily/twice',
    ]);
    expect((await shared.open.virtualMachines()).map(({ name }) => name)).toEqual(['web1']);
  });
});
