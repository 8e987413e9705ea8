/** Keys that clients know too, as the library takes them, and the thread that encrypts with them. */

import { readdirSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import type { Worker } from 'node:worker_threads';
import { setTimeout as pause } from 'node:timers/promises';

import { describe, expect, it, onTestFinished } from 'vitest';

import { createStore, openStore, type NbdServer, type NbdTls } from '../../src/index.js';
import { preSharedKeysIn } from '../../src/store/pre-shared-keys.js';
import { noise, temporaryFolder } from '../input/temporary.js';
import { hear, opened, started, type Knowledge } from './psk-client.js';

const MiB = 1_048_576;
const alice: Knowledge = { user: 'alice', key: noise(1, 32) };
const preSharedKeys = `alice:${alice.key.toString('hex')}\n`;

/** Threads that were begun. */
const workers: Worker[] = [];
process.on('worker', (worker: Worker) => workers.push(worker));

function sockets(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // that of the listing
    }
  }).length;
}

async function serving(): Promise<{ readonly server: NbdServer; readonly port: number }> {
  const storePath = path.join(temporaryFolder(), 'store');
  await createStore({ path: storePath });
  const store = await openStore({ path: storePath });
  onTestFinished(() => store.close());
  await store.createDisk({ name: 'os', sizeBytes: MiB });
  const server = await store.serveNbd({ listen: [{ host: '127.0.0.1', port: 0 }], tls: { preSharedKeys } });
  const [address] = server.addresses;
  return { server, port: address !== undefined && 'port' in address ? address.port : 0 };
}

const lastWorker = (): Worker => {
  const last = workers.at(-1);
  if (last === undefined) throw new Error('no thread was begun');
  return last;
};

describe('a server with keys', () => {
  it('holds no socket and no thread after it was closed, with clients and handshakes under way', async () => {
    const before = sockets();
    const { server, port } = await serving();
    const clients = [await opened(port, alice, 'os'), await started(port), await opened(port, alice, 'os')];
    let hasEnded = false;
    lastWorker().once('exit', () => (hasEnded = true));

    await server.close();

    expect(hasEnded).toBe(true);
    for (const client of clients) await expect(hear(client, 1)).rejects.toThrow('hung up');
    for (const client of clients) client.destroy();
    while (sockets() > before) await pause(10);
    expect(sockets()).toBe(before);
  });

  it('loses the clients of a thread that ends, none of their sockets, and serves the next ones', async () => {
    const { server, port } = await serving();
    // In this order: once the second is through its handshake, the thread has had the first one too.
    const [starting, client] = [await started(port), await opened(port, alice, 'os')];
    expect(server.statistics().clients).toBe(2);
    const begun = workers.length;

    await lastWorker().terminate();

    for (const lost of [client, starting]) await expect(hear(lost, 1)).rejects.toThrow('hung up');
    while (server.statistics().clients > 0) await pause(10);
    const next = await opened(port, alice, 'os');
    expect(workers).toHaveLength(begun + 1);
    next.destroy();
    await server.close();
  });
});

describe('a text of keys', () => {
  const key = 'aB'.repeat(16);
  const read = (text: unknown): unknown[] => [...preSharedKeysIn('tls.preSharedKeys', text)];

  it('has a line for each user, as GnuTLS reads it', () => {
    expect(read(`alice:${key}\r\n\n#c3a9:${'00'.repeat(256)}\na:b:${key}`)).toEqual([
      ['alice', new Uint8Array(16).fill(0xab)],
      ['é', new Uint8Array(256)],
      ['a:b', new Uint8Array(16).fill(0xab)],
    ]);
  });

  it.each([
    ['', 'not empty'],
    [5, 'not empty'],
    ['\n \n', 'it has no user'],
    [`alice:${key}\nbob`, 'line 2: a line is USER:KEY'],
    [`:${key}`, 'line 1: a line is USER:KEY'],
    [`${'x'.repeat(129)}:${key}`, 'line 1: a user is'],
    [`#6:${key}`, 'line 1: a user is'],
    [`#00:${key}`, 'line 1: a user is'],
    [`#ff:${key}`, 'line 1: a user is'],
    [`alice:${key}0`, 'line 1: a key is written in hexadecimal'],
    ['alice:', 'line 1: a key is written in hexadecimal'],
    [`alice:${'ab'.repeat(15)}`, 'line 1: a key has 16 to 256 bytes, and this one 15'],
    [`alice:${'ab'.repeat(257)}`, 'line 1: a key has 16 to 256 bytes, and this one 257'],
    [`alice:${key}\nalice:${key}`, 'line 2: the user has a line already'],
  ])('is refused with the number of the line that is wrong: %j', (text, why) => {
    expect(() => read(text)).toThrow(why);
    expect(() => read(text)).toThrow(expect.objectContaining({ code: 'ARGUMENT_INVALID' }));
    if (typeof text === 'string' && text.includes(key)) expect(() => read(text)).not.toThrow(key);
  });

  it('does not go with a certificate', async () => {
    const storePath = path.join(temporaryFolder(), 'store');
    await createStore({ path: storePath });
    const store = await openStore({ path: storePath });
    onTestFinished(() => store.close());
    const tls = { preSharedKeys, certificate: 'x', key: 'y' } as NbdTls;
    const begun = workers.length;

    await expect(store.serveNbd({ listen: [{ host: '127.0.0.1', port: 0 }], tls })).rejects.toMatchObject({
      code: 'ARGUMENT_INVALID',
    });
    expect(workers).toHaveLength(begun);
  });
});
