/** A write log on real files that cannot be opened: through the library and the command line. */

import { mkdirSync, renameSync, rmdirSync } from 'node:fs';

import { describe, expect, it } from 'vitest';

import { createStore, openStore } from '../../src/index.js';
import { codeOf, runCommand } from './command.js';
import { noise, temporaryFolder } from './temporary.js';

const diskBytes = 256 * 1024;

/** A store with the machines `db` and `web`, whose log of `db` is put out of reach; `bringBack` puts it right. */
async function storeWithClosedLog(): Promise<{ path: string; content: Uint8Array; bringBack: () => void }> {
  const path = `${temporaryFolder()}/store`;
  const content = noise(3, diskBytes);
  await createStore({ path });
  const store = await openStore({ path });
  for (const name of ['db', 'web']) {
    const disk = await store.createDisk({ name: `${name}-os`, sizeBytes: diskBytes });
    await disk.write(0, content);
    await store.createVirtualMachine({ name, disks: { os: `${name}-os` } });
  }
  await (await store.capture('db', { name: 'old' })).copied();
  const { id } = await store.virtualMachine('db');
  await store.close();
  const slot = `${path}/live/${id}/superblock.a`;
  renameSync(slot, `${slot}.away`);
  mkdirSync(slot);
  const bringBack = (): void => {
    rmdirSync(slot);
    renameSync(`${slot}.away`, slot);
  };
  return { path, content, bringBack };
}

describe('a write log that cannot be opened', () => {
  it('stops its machine alone, and goes on in the same store once it can be opened', async () => {
    const { path, content, bringBack } = await storeWithClosedLog();
    const store = await openStore({ path });
    expect(store.findings.map(({ code }) => code)).toEqual(['LOG_UNAVAILABLE']);
    const [db, web] = [await store.disk('db-os'), await store.disk('web-os')];
    expect([db.info.unavailable?.code, web.info.unavailable]).toEqual(['IO_FAILED', undefined]);
    const waits = { code: 'LOG_UNAVAILABLE', kind: 'retry' };
    await expect(db.read(0, 512)).rejects.toMatchObject(waits);
    await expect(db.write(0, new Uint8Array(512))).rejects.toMatchObject(waits);
    await expect(db.flush()).rejects.toMatchObject(waits);
    await expect(db.grow(2 * diskBytes)).rejects.toMatchObject(waits);
    await expect(db.detach()).rejects.toMatchObject(waits);
    await expect(store.capture('db')).rejects.toMatchObject(waits);
    await expect(store.restoreInPlace('db/old')).rejects.toMatchObject(waits);
    await expect(store.collect()).rejects.toMatchObject(waits);
    expect(await store.read('db/old', { disk: 'os', offset: 0, length: diskBytes })).toEqual(new Uint8Array(content));
    await store.cloneDisk('copy', 'db/old/os');
    // A disk in a log that nobody can read may stand on it, so it goes later.
    await expect(store.deletePoint('db/old')).rejects.toMatchObject({ code: 'STORE_BUSY' });
    await web.write(0, new Uint8Array(4096).fill(7), { fua: true });
    await (await store.capture('web')).copied();
    expect((await store.reopenLogs()).map(({ code }) => code)).toEqual(['LOG_UNAVAILABLE']);

    bringBack();

    // The deletion that had to wait.
    expect((await store.reopenLogs()).map(({ code }) => code)).toEqual(['WORK_INTERRUPTED']);
    expect(db.info.unavailable).toBeUndefined();
    expect(await db.read(0, diskBytes)).toEqual(new Uint8Array(content));
    expect(await store.restorePoints('db')).toEqual([]);
    await db.write(0, new Uint8Array(4096).fill(8), { fua: true });
    await (await store.capture('db')).copied();
    await store.collect();
    await store.close();
    const again = await openStore({ path });
    expect(again.findings).toEqual([]);
    expect((await (await again.disk('db-os')).read(0, 1024))[0]).toBe(8);
    await again.close();
  });

  it('is said by the command line beside the machine and its disks', async () => {
    const { path, bringBack } = await storeWithClosedLog();
    const listed = await runCommand(['disk', 'list', '--store', path]);
    expect(listed.out).toMatch(/STATE/);
    expect(listed.out).toMatch(/db-os .*unavailable: IO_FAILED/);
    expect(listed.out).toMatch(/web-os .*ready/);
    expect(listed.err).toMatch(/could not be opened/);
    expect((await runCommand(['vm', 'list', '--store', path])).out).toMatch(/db .*unavailable: IO_FAILED/);
    expect(codeOf(await runCommand(['capture', 'db', '--store', path, '--json']))).toBe('LOG_UNAVAILABLE');
    bringBack();
    expect((await runCommand(['disk', 'list', '--store', path])).out).not.toMatch(/STATE/);
  });
});
