/** `--at` and limits through the command line and the real library, each command a process of its own as far as the store can tell. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openStore, type Store } from '../../src/index.js';
import { RealShell } from './real-shell.js';

const shell = new RealShell();
const type = shell.type.bind(shell);
const done = shell.done.bind(shell);

/** Does something with the store between two commands. */
async function within<T>(work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore({ path: join(shell.directory, '.stillpoint') });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** Writes a value all over a disk; gives the record. */
const fill = (name: string, value: number): Promise<string> =>
  within(async (store) => (await store.disk(name)).write(0, new Uint8Array(65_536).fill(value)));

/** The value all over a disk. */
const valueOf = (name: string): Promise<number | null> =>
  within(async (store) => same(await (await store.disk(name)).read(0, 65_536)));

function same(bytes: Uint8Array): number | null {
  const [first] = bytes;
  return first !== undefined && bytes.every((byte) => byte === first) ? first : null;
}

test('a machine is restored as it was at any record and time, to a file, a disk, a machine and in place', async () => {
  await done('init');
  await done('disk create db-os --size 64KiB');
  await done('disk create db-data --size 64KiB');
  await within((store) => store.createVirtualMachine({ name: 'db', disks: { os: 'db-os', data: 'db-data' } }));
  const first = await fill('db-os', 1);
  await fill('db-data', 2);
  await done('capture db --name rp1 --wait');
  const third = await fill('db-os', 3);
  const fourth = await fill('db-data', 4);
  await done('capture db --name rp2 --wait');
  await fill('db-os', 5);
  await done('delete db/rp1');
  await done('gc');

  const toDisk = await done(`restore db --at ${third} --disk os --to-disk then`);
  expect(toDisk).toMatchObject({ kind: 'disk', source: 'db', at: { lsn: third } });
  expect(await valueOf('then')).toBe(3);

  const { at } = toDisk as { readonly at: { readonly timeMs: number } };
  const time = new Date(at.timeMs).toISOString();
  const byTime = await done(`restore db --at ${time} --to-vm twin`);
  const used = (byTime['at'] as { readonly lsn: string }).lsn;
  expect(BigInt(used) >= BigInt(third)).toBe(true);
  expect(await valueOf('twin-os')).toBe(3);

  const toFile = await done(`restore db --at ${first} --disk os --to os.raw`);
  expect(toFile).toMatchObject({ point: 'db', at: { lsn: first }, disks: [{ disk: 'os', sizeBytes: 65_536 }] });
  expect(same(readFileSync(join(shell.directory, 'os.raw')))).toBe(1);
  await done(`restore db --at ${fourth} --to-directory back`);
  const values = ['os', 'data'].map((role) => same(readFileSync(join(shell.directory, 'back', `${role}.raw`))));
  expect(values).toEqual([3, 4]);

  expect(await done(`restore db --at ${first} --in-place`)).toMatchObject({ at: { lsn: first } });
  expect([await valueOf('db-os'), await valueOf('db-data')]).toEqual([1, 0]);

  for (const moment of ['99999999999999999', '2020-01-01T00:00:00Z']) {
    const { code, answer } = await type(`restore db --at ${moment} --disk os --to-disk none`);
    expect([code, answer]).toMatchObject([1, { error: { code: 'MOMENT_NOT_KEPT' } }]);
  }
  expect(await done('list db')).toMatchObject({ value: [{ reference: 'db/default/rp2' }] });
  expect(await done('verify --read-data')).toMatchObject({ findings: [] });
});

test('limits are kept from one command to the next, and go', async () => {
  const limits = { operationsPerSecond: 500, bytesPerSecond: 1_048_576 };
  await done('init');
  const words = '--operations-per-second 500 --bytes-per-second 1MiB';
  expect(await done(`disk create a --size 64KiB ${words}`)).toMatchObject({ limits });
  expect(await done('disk list')).toMatchObject({ value: [{ name: 'a', limits }] });
  const lifted = { operationsPerSecond: null, bytesPerSecond: null };
  expect(await done('disk limit a')).toMatchObject({ limits: lifted });
  expect(await done('disk limit a --bytes-per-second 2MiB')).toMatchObject({
    limits: { operationsPerSecond: null, bytesPerSecond: 2_097_152 },
  });
  expect((await type('disk limit a --operations-per-second 0')).code).toBe(2);
  expect(await type('disk limit b')).toMatchObject({ code: 1, answer: { error: { code: 'DISK_NOT_FOUND' } } });
});
