/** A store served over NBD, on real sockets: what the names of exports stand for, and that everybody sees the same bytes. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { describe, expect, it, onTestFinished } from 'vitest';

import { createStore, isStillpointError, openStore, type NbdServer, type Store } from '../../src/index.js';
import { noise, temporaryFolder } from '../input/temporary.js';
import { NbdClient, NbdError } from './client.js';

const serveAndClose = fileURLToPath(new URL('serve-and-close.mjs', import.meta.url));
const KiB = 1024;
const MiB = 1024 * KiB;

interface Stage {
  readonly store: Store;
  readonly storePath: string;
  readonly server: NbdServer;
  readonly at: { readonly unix: string };
}

/** A store with the machine `db` of the disks `os` and `log`, 1 MiB each, served at a Unix socket. */
async function stage(): Promise<Stage> {
  const folder = temporaryFolder();
  const storePath = path.join(folder, 'store');
  await createStore({ path: storePath, chunkBytes: 16 * KiB });
  const store = await openStore({ path: storePath });
  onTestFinished(() => store.close());
  for (const name of ['os', 'log']) await store.createDisk({ name, sizeBytes: MiB });
  await store.createVirtualMachine({ name: 'db', disks: { os: 'os', log: 'log' } });
  const at = { unix: path.join(folder, 'nbd.sock') };
  const server = await store.serveNbd({ listen: [at] });
  return { store, storePath, server, at };
}

async function bytesOf(store: Store, name: string): Promise<Buffer> {
  return Buffer.from(await (await store.disk(name)).read(0, MiB));
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return isStillpointError(error) ? error.code : String(error);
}

/** A socket file whose process was killed before it could remove it. */
async function abandonedSocket(unix: string): Promise<{ readonly unix: string }> {
  const listen = `require('net').createServer().listen(${JSON.stringify(unix)}, () => process.kill(process.pid, 'SIGKILL'))`;
  const child = spawn(process.execPath, ['-e', listen], { stdio: 'ignore' });
  await once(child, 'close');
  return { unix };
}

describe('a served store', () => {
  it('has its live disks to read and write, for clients and for the program alike', async () => {
    const { store, at } = await stage();
    const client = await NbdClient.open(at, 'os');
    await client.write(4096, noise(1, 8192));
    await client.zero(8192, 512);
    await client.flush();
    await (await store.disk('os')).write(64 * KiB, noise(2, 4096));

    const read = await client.read(0, MiB);

    expect(client.sizeBytes).toBe(MiB);
    expect(read.equals(await bytesOf(store, 'os'))).toBe(true);
    expect(read.subarray(4096, 8192)).toEqual(noise(1, 8192).subarray(0, 4096));
    expect(read.subarray(8192, 8704)).toEqual(Buffer.alloc(512));
    await client.close();
  });

  it('lists what there is now, and finds it by all its names', async () => {
    const { store, at } = await stage();
    await store.capture('db', { name: 'rp1', collection: 'daily' });
    await store.createDisk({ name: 'spare', sizeBytes: MiB });

    const listed = await NbdClient.list(at);

    expect(listed).toEqual(
      new Map([
        ['os', 'the disk os of db'],
        ['log', 'the disk log of db'],
        ['spare', 'a detached disk'],
        ['db/daily/rp1/os', expect.stringMatching(/^a restore point of \d{4}-/)],
        ['db/daily/rp1/log', expect.stringMatching(/^a restore point of \d{4}-/)],
      ]),
    );
    for (const name of [...listed.keys(), 'OS', 'db/os', 'DB/Log', 'db/rp1/os', 'scratch:db/rp1/os']) {
      const client = await NbdClient.open(at, name);
      expect([name, client.sizeBytes]).toEqual([name, MiB]);
      await client.close();
    }
    for (const name of [
      '',
      'nothing',
      'db',
      'db/data',
      'db/rp2/os',
      'db/rp1/data',
      'x/rp1/os',
      'a/b/c/d/e',
      '///',
      'scratch:',
      'scratch:os',
    ]) {
      await expect(NbdClient.open(at, name), name).rejects.toThrow(NbdError);
    }
  });

  it('listens at a socket that a process left which is gone, and takes no other place from anybody', async () => {
    const { store, storePath, at } = await stage();
    const file = path.join(path.dirname(storePath), 'file');
    writeFileSync(file, 'kept');

    expect(await codeOf(store.serveNbd({ listen: [at] }))).toBe('TARGET_EXISTS');
    expect(await codeOf(store.serveNbd({ listen: [{ unix: file }] }))).toBe('TARGET_EXISTS');
    const abandoned = await abandonedSocket(path.join(path.dirname(storePath), 'abandoned.sock'));
    await store.serveNbd({ listen: [abandoned] });

    expect(readFileSync(file, 'utf8')).toBe('kept');
    for (const each of [at, abandoned]) await (await NbdClient.open(each, 'os')).close();
  });

  it('has a default export where it has one live disk', async () => {
    const { store, at } = await stage();
    await (await store.disk('log')).detach();
    await (await store.disk('log')).delete();

    const client = await NbdClient.open(at, '');

    expect(client.sizeBytes).toBe(MiB);
    await client.close();
  });

  it('has restore points to read, from before their copy to after it, and after their deletion for who has them', async () => {
    const { store, at } = await stage();
    const live = await NbdClient.open(at, 'os');
    await live.write(0, noise(1, 256 * KiB));
    const captured = await store.capture('db', { name: 'rp1' });
    const early = await NbdClient.open(at, 'db/rp1/os');
    await live.write(0, noise(2, 256 * KiB));

    const before = await early.read(0, 256 * KiB);
    await captured.copied();
    const after = await early.read(0, 256 * KiB);
    const late = await NbdClient.open(at, 'db/rp1/os');

    expect(before.equals(noise(1, 256 * KiB))).toBe(true);
    expect(after.equals(before)).toBe(true);
    expect((await late.read(0, 256 * KiB)).equals(before)).toBe(true);
    await expect(late.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 1 });
    await store.deletePoint('db/rp1');
    await store.collect();
    expect((await late.read(0, 256 * KiB)).equals(before)).toBe(true);
    await expect(NbdClient.open(at, 'db/rp1/os')).rejects.toThrow(NbdError);
    for (const client of [live, early, late]) await client.close();
  });

  it('tells what changed since any other point, as the diff does', async () => {
    const { store, at } = await stage();
    const disk = await store.disk('os');
    for (const [index, name] of ['a', 'b', 'c'].entries()) {
      for (let place = 0; place < 5; place += 1) {
        await disk.write(((index * 7 + place * 11) % 64) * 16 * KiB, noise(index * 10 + place, 4096));
      }
      await store.capture('db', { name, collection: name === 'c' ? 'weekly' : 'daily' });
    }

    for (const [since, name] of [
      ['a', 'a'],
      ['b', 'daily/b'],
    ] as const) {
      const client = await NbdClient.open(at, 'db/c/os', `qemu:dirty-bitmap:${name}`);
      const said = await client.status();
      const told: { offset: number; length: number }[] = [];
      let offset = 0;
      for (const { length, flags } of said) {
        if (flags === 1) told.push({ offset, length });
        offset += length;
      }
      const changed: { offset: number; length: number }[] = [];
      for await (const { offset: from, length } of store.diff(`db/${since}`, 'db/c', { disk: 'os' })) {
        changed.push({ offset: from, length });
      }
      expect(told).toEqual(changed);
      expect(offset).toBe(MiB);
      await client.close();
    }
    await expect(NbdClient.open(at, 'db/c/os', 'qemu:dirty-bitmap:c')).rejects.toThrow('no context');
  });

  it('tells where data is', async () => {
    const { store, at } = await stage();
    await (await store.disk('os')).write(128 * KiB, noise(1, 64 * KiB));

    const client = await NbdClient.open(at, 'os', 'base:allocation');

    expect(await client.status()).toEqual([
      { length: 128 * KiB, flags: 3 },
      { length: 64 * KiB, flags: 0 },
      { length: MiB - 192 * KiB, flags: 3 },
    ]);
    await client.close();
  });

  it('gives scratch copies to write, one to all who ask at a time, gone with the last of them', async () => {
    const { store, storePath, at } = await stage();
    await (await store.disk('os')).write(0, noise(1, MiB));
    await store.capture('db', { name: 'rp1' });
    const logs = path.join(storePath, 'live');
    const logsBefore = readdirSync(logs);
    const one = await NbdClient.open(at, 'scratch:db/rp1/os');
    expect(readdirSync(logs)).toHaveLength(logsBefore.length + 1);
    const two = await NbdClient.open(at, 'scratch:db/default/rp1/OS');
    await one.write(0, noise(2, 4096));
    await one.flush();

    expect(await two.read(0, 4096)).toEqual(noise(2, 4096));
    expect((await store.disks()).map(({ name }) => name).sort()).toEqual(['log', 'os']);
    expect(await codeOf(store.disk('scratch'))).toBe('DISK_NOT_FOUND');
    await one.close();
    expect(await two.read(0, 4096)).toEqual(noise(2, 4096));
    two.vanish();
    await expect.poll(() => readdirSync(logs)).toEqual(logsBefore);

    const again = await NbdClient.open(at, 'scratch:db/rp1/os');
    expect((await again.read(0, MiB)).equals(noise(1, MiB))).toBe(true);
    await again.close();
    const point = await NbdClient.open(at, 'db/rp1/os');
    expect((await point.read(0, MiB)).equals(noise(1, MiB))).toBe(true);
    await point.close();
  });

  it('refuses to put a disk back, or to delete it, under clients that may write it', async () => {
    const { store, at } = await stage();
    await (await store.capture('db', { name: 'rp1' })).copied();
    const client = await NbdClient.open(at, 'log');

    expect(await codeOf(store.restoreInPlace('db/rp1'))).toBe('DISK_EXPORTED');
    await store.restoreInPlace('db/rp1', { disks: ['os'] });
    await (await store.disk('log')).detach();
    expect(await codeOf((await store.disk('log')).delete())).toBe('DISK_EXPORTED');
    await client.close();

    await (await store.disk('log')).delete();
  });

  it('disconnects its clients when server or store is closed, and lets nobody connect any more', async () => {
    const { store, storePath, server, at } = await stage();
    await (await store.capture('db', { name: 'rp1' })).copied();
    const logs = readdirSync(path.join(storePath, 'live'));
    const other = await store.serveNbd({
      listen: [
        { host: '127.0.0.1', port: 0 },
        { host: 'localhost', port: 0 },
      ],
    });
    const [first] = other.addresses;
    if (first === undefined) throw new Error('it listens nowhere');
    const client = await NbdClient.open(at, 'os');
    const scratch = await NbdClient.open(first, 'scratch:db/rp1/os');
    expect(server.statistics()).toEqual({ clients: 1, refused: 0 });
    expect(other.statistics().clients).toBe(1);

    await server.close();
    await client.hungUp();
    await expect(NbdClient.open(at, 'os')).rejects.toThrow();
    await store.close();
    await scratch.hungUp();
    expect(readdirSync(path.join(storePath, 'live'))).toEqual(logs);
  });

  it('is closed with the store also while it begins, and while clients are in the middle of a handshake', async () => {
    const { store, at } = await stage();
    await NbdClient.connect(at);
    const beginning = store.serveNbd({ listen: [{ host: '127.0.0.1', port: 0 }] });

    await store.close();

    expect(['STORE_CLOSED', 'served']).toContain(
      await codeOf(beginning.then(() => Promise.reject(new Error('served')))),
    );
  });

  it('does not wait for the rates of disks when it is closed', async () => {
    const { store, at } = await stage();
    await (await store.disk('os')).setLimits({ bytesPerSecond: 4096 });
    const client = await NbdClient.open(at, 'os');
    await client.write(0, noise(1, 128 * KiB)); // what comes next would have to wait for half a minute
    const waiting = client.write(0, noise(2, 4096)).catch(() => undefined);

    const startedMs = Date.now();
    await store.close();

    expect(Date.now() - startedMs).toBeLessThan(10_000);
    await waiting;
  });

  it('keeps the process alive until it is closed, and no longer', async () => {
    const { store, storePath, at } = await stage();
    await store.close();
    const again = { unix: `${at.unix}.again` };
    const child = spawn(process.execPath, [serveAndClose, storePath, again.unix], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const client = await NbdClient.open(again, 'os');

    child.stdin.write('close\n');
    const [code] = (await once(child, 'exit')) as [number | null];

    expect(code).toBe(0);
    await client.hungUp();
  });

  it('hangs up on clients above the limit', async () => {
    const { store } = await stage();
    const few = await store.serveNbd({ listen: [{ host: '127.0.0.1', port: 0 }], clientsMax: 2 });
    const [at] = few.addresses;
    if (at === undefined) throw new Error('it listens nowhere');
    const clients = [await NbdClient.open(at, 'os'), await NbdClient.open(at, 'os')];

    await expect(NbdClient.open(at, 'os')).rejects.toThrow('hung up');
    await clients[0]?.close();

    await expect.poll(() => few.statistics().clients).toBe(1);
    await (await NbdClient.open(at, 'os')).close();
    expect(few.statistics().refused).toBe(1);
  });

  it('checks where it is to listen', async () => {
    const { store, at, server } = await stage();
    for (const listen of [
      [],
      [{}],
      [{ host: '0.0.0.0', port: 0 }],
      [{ host: '127.0.0.1', port: 65_536 }],
      'x',
      [{ unix: '' }],
    ]) {
      // A cast: these are what the types forbid.
      expect(await codeOf(store.serveNbd({ listen: listen as never }))).toBe('ARGUMENT_INVALID');
    }
    expect(await codeOf(store.serveNbd({ listen: [{ unix: '/nowhere/at/all' }] }))).not.toBe('INTERNAL');
    expect(statSync(at.unix).isSocket()).toBe(true);
    await server.close();
  });
});
