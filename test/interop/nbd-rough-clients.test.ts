/**
 * Clients that vanish in the middle of a word, never read, or read slowly: the server holds nothing of them afterwards, and
 * others notice nothing.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { openStore } from '../../src/index.js';
import { runs } from '../house/size.js';
import { noise } from '../input/temporary.js';
import { command, NbdClient, requestBytes } from '../nbd/client.js';
import { ServingProcess } from './nbd-process.js';
import { KiB, makeStore, MiB } from './nbd-stage.js';

let folder: string;
let at: { readonly unix: string };
let serving: ServingProcess;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-rough-'));
  const storePath = path.join(folder, 'store');
  await makeStore(storePath, { os: 64 * MiB, log: 8 * MiB });
  const store = await openStore({ path: storePath });
  await (await store.disk('os')).write(0, noise(1, 8 * MiB));
  await (await store.capture('vm', { name: 'rp1' })).copied();
  await store.close();
  at = { unix: path.join(folder, 'nbd.sock') };
  serving = await ServingProcess.start(storePath, at.unix);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const read = (offset: number, length: number): Buffer => requestBytes(command.read, 1n, offset, length);
const write = (offset: number, bytes: Uint8Array): Buffer =>
  Buffer.concat([requestBytes(command.write, 2n, offset, bytes.byteLength), bytes]);

/** Ways to leave: each opens a connection and is gone without a word somewhere in the middle. */
const departures: readonly ((index: number) => Promise<NbdClient>)[] = [
  () => NbdClient.connect(at),
  async (index) => {
    const client = await NbdClient.connect(at);
    client.sendRaw(Buffer.from('IHAVEOPT').subarray(0, 1 + (index % 8)));
    return client;
  },
  async (index) => {
    const client = await NbdClient.open(at, 'os');
    client.sendRaw(read(0, 512).subarray(0, 1 + (index % 27)));
    return client;
  },
  async (index) => {
    const client = await NbdClient.open(at, index % 2 === 0 ? 'os' : 'log');
    client.sendRaw(write(4 * MiB, noise(2, 64 * KiB)).subarray(0, 28 + ((index * 977) % (64 * KiB))));
    return client;
  },
  async () => {
    const client = await NbdClient.open(at, 'vm/rp1/os');
    for (let place = 0; place < 16; place += 1) client.sendRaw(read(place * 256 * KiB, 256 * KiB));
    return client;
  },
  async (index) => {
    const client = await NbdClient.open(at, 'os', 'base:allocation');
    for (let place = 0; place < 8; place += 1) {
      client.sendRaw(write(5 * MiB + place * 4096, noise(index, 4096)));
      client.sendRaw(requestBytes(command.flush, 3n, 0, 0));
    }
    return client;
  },
  async () => {
    const client = await NbdClient.open(at, 'log');
    client.sendRaw(Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'));
    return client;
  },
];

describe('a server', () => {
  it('holds nothing of thousands of clients that vanished in the middle', { timeout: 600_000 }, async () => {
    const wave = async (from: number, count: number): Promise<void> => {
      for (let index = from; index < from + count; index += 20) {
        await Promise.all(
          Array.from({ length: 20 }, async (_, place) => {
            const depart = departures[(index + place) % departures.length];
            const client = await depart?.(index + place);
            if (place % 2 === 0) await pause(place % 5);
            client?.vanish();
          }),
        );
      }
    };
    await wave(0, 100); // what is made once is made now
    const scratch = await NbdClient.open(at, 'scratch:vm/rp1/os');
    scratch.vanish();
    await expect.poll(() => serving.restoreInPlace('rp1'), { timeout: 20_000, interval: 50 }).toBe('restored');
    const before = serving.holds();

    await wave(0, runs(3000, 40_000));
    for (let index = 0; index < runs(30, 500); index += 1) {
      const client = await NbdClient.open(at, 'scratch:vm/rp1/os');
      client.sendRaw(write(0, noise(index, 4096)).subarray(0, index % 2 === 0 ? 1000 : 4124));
      client.vanish();
    }

    // No export is held: the disks can be put back.
    await expect.poll(() => serving.restoreInPlace('rp1'), { timeout: 20_000, interval: 50 }).toBe('restored');
    const isSettled = (): boolean => {
      const now = serving.holds();
      return now.threads <= before.threads + 4 && now.descriptors <= before.descriptors + 4;
    };
    await expect.poll(isSettled, { timeout: 20_000, interval: 50 }).toBe(true);
    const client = await NbdClient.open(at, 'os');
    expect((await client.read(0, 8 * MiB)).equals(noise(1, 8 * MiB))).toBe(true);
    await client.close();
  });

  it('serves others while a client never reads and another reads slowly', async () => {
    const deaf = await NbdClient.open(at, 'vm/rp1/os');
    deaf.stopReading();
    for (let index = 0; index < 400; index += 1) deaf.sendRaw(read((index % 8) * MiB, MiB));
    const slow = await NbdClient.open(at, 'os');
    slow.stopReading();
    for (let index = 0; index < 64; index += 1) slow.sendRaw(read((index % 8) * MiB, MiB));

    const other = await NbdClient.open(at, 'os');
    for (let index = 0; index < 200; index += 1) {
      const bytes = noise(index, 4096);
      await other.write(16 * MiB + index * 4096, bytes);
      expect((await other.read(16 * MiB + index * 4096, 4096)).equals(bytes)).toBe(true);
    }
    await other.flush();
    const point = await NbdClient.open(at, 'vm/rp1/os');
    expect((await point.read(0, 8 * MiB)).equals(noise(1, 8 * MiB))).toBe(true);

    // The slow one gets all of its answers in the end.
    slow.readOn();
    for (let index = 0; index < 64; index += 1) await slow.takeRaw(16 + MiB);
    for (const client of [slow, other, point]) await client.close();
    expect(await serving.restoreInPlace('rp1')).toBe('restored'); // the deaf one has a point open, which harms nobody
    deaf.vanish();
  });

  it('lets its process end when the store was closed', async () => {
    const client = await NbdClient.open(at, 'os');

    expect(await serving.end()).toBe(0);
    await client.hungUp();
  });
});
