/** Names that lead nowhere, to several things, or to something that is there already. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { ErrorCode } from '../../src/index.js';
import { expectRefusal, type Attempt } from './refusal.js';
import { smallStoreIn, withOpen, type SmallStore } from './small-store.js';

/** A small store with a second machine, and a point name that two collections have. */
async function storeWithNames(folder: string): Promise<SmallStore> {
  const store = await smallStoreIn(folder);
  await withOpen(store.path, async (open) => {
    await open.capture('web1', { name: 'twice' });
    await open.capture('web1', { name: 'twice', collection: 'daily' });
    await open.createVirtualMachine({ name: 'db', disks: [{ role: 'a-b', external: store.image }] });
  });
  return store;
}

const image = '/images/os.raw';

const attempts: readonly [string, ErrorCode, Attempt][] = [
  ['an unknown machine', 'MACHINE_NOT_FOUND', { call: (store) => store.capture('web2'), words: ['capture', 'web2'] }],
  [
    'an unknown machine before a slash',
    'MACHINE_NOT_FOUND',
    { call: (store) => store.deletePoint('web2/first'), words: ['delete', 'web2/first'] },
  ],
  [
    'an unknown collection',
    'COLLECTION_NOT_FOUND',
    { call: (store) => store.restorePoint('web1/weekly/first'), words: ['show', 'web1/weekly/first'] },
  ],
  [
    'an unknown point',
    'POINT_NOT_FOUND',
    { call: (store) => store.restorePoint('web1/second'), words: ['show', 'web1/second'] },
  ],
  [
    'the right point in the wrong collection',
    'POINT_NOT_FOUND',
    { call: (store) => store.deletePoint('web1/daily/first'), words: ['delete', 'web1/daily/first'] },
  ],
  [
    'an ambiguous point to show',
    'NAME_AMBIGUOUS',
    { call: (store) => store.restorePoint('web1/twice'), words: ['show', 'web1/twice'] },
  ],
  [
    'an ambiguous point to delete',
    'NAME_AMBIGUOUS',
    { call: (store) => store.deletePoint('web1/twice'), words: ['delete', 'web1/twice'] },
  ],
  [
    'an unknown disk to exclude',
    'DISK_NOT_FOUND',
    { call: (store) => store.capture('web1', { exclude: ['swap'] }), words: ['capture', 'web1', '--exclude', 'swap'] },
  ],
  [
    'a point name that is taken, in other case',
    'POINT_EXISTS',
    { call: (store) => store.capture('web1', { name: 'FIRST' }), words: ['capture', 'web1', '--name', 'FIRST'] },
  ],
  [
    'a machine name that is taken, in other case',
    'MACHINE_EXISTS',
    {
      call: (store) => store.createVirtualMachine({ name: 'Web1', disks: [{ role: 'os', external: image }] }),
      words: ['vm', 'create', 'Web1', '--external', `os=${image}`],
    },
  ],
  [
    'a disk name that another machine has by accident',
    'DISK_EXISTS',
    {
      call: (store) => store.createVirtualMachine({ name: 'db-a', disks: [{ role: 'b', external: image }] }),
      words: ['vm', 'create', 'db-a', '--external', `b=${image}`],
    },
  ],
  [
    'a machine with points to delete',
    'MACHINE_NOT_EMPTY',
    { call: (store) => store.deleteVirtualMachine('web1'), words: ['vm', 'delete', 'web1'] },
  ],
];

const invalidNames = ['.hidden', 'a/b', 'ends-', 'with blank', 'käse', 'x'.repeat(81), '..', 'line\nend'];

let folder: string;
let store: SmallStore;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-names-'));
  store = await storeWithNames(folder);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

// One store for all: each refusal leaves it as it was, which each of them checks.
describe('refused, and nothing changes:', () => {
  it.each(attempts)('%s (%s)', async (_what, code, attempt) => {
    await expectRefusal(store, { code, kind: 'fix-call' }, attempt);
  });

  it('invalid names of points, collections, machines and roles', async () => {
    await withOpen(store.path, async (open) => {
      const before = await open.restorePoints();
      const refused = { code: 'NAME_INVALID', kind: 'fix-call' };
      for (const name of invalidNames) {
        await expect(open.capture('web1', { name })).rejects.toMatchObject(refused);
        await expect(open.capture('web1', { collection: name })).rejects.toMatchObject(refused);
        const disks = [{ role: 'os', external: image }];
        await expect(open.createVirtualMachine({ name, disks })).rejects.toMatchObject(refused);
        const change = { addDisks: [{ role: name, external: image }] };
        await expect(open.updateVirtualMachine('web1', change)).rejects.toMatchObject(refused);
      }
      expect(await open.restorePoints()).toEqual(before);
      expect(await open.virtualMachines()).toHaveLength(2);
    });

    await expectRefusal(
      store,
      { code: 'NAME_INVALID', kind: 'fix-call' },
      { call: (open) => open.capture('web1', { name: 'a b' }), words: ['capture', 'web1', '--name', 'a b'] },
    );
  });
});

describe('deleting several points with one command', () => {
  it('deletes none when one name is wrong', async () => {
    const words = ['delete', 'web1/first', 'web1/daily/twice', 'web1/nonsense'];

    await expectRefusal(
      store,
      { code: 'POINT_NOT_FOUND', kind: 'fix-call' },
      { call: (open) => open.deletePoint('web1/nonsense'), words },
    );
  });
});
