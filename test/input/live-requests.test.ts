/** Requests to live disks that cannot be: each rejects with its code, changes nothing, and never brings the process down. */

import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';

import { createStore, openStore, type Disk, type DiskOperation, type Store } from '../../src/index.js';
import { noise } from './temporary.js';

const sizeBytes = 1 << 20;

/** A value that no type allows. */
const any = (value: unknown): never => value as never;

let folder: string;
let store: Store;
let disk: Disk;
let coarse: Disk;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-requests-'));
  await createStore({ path: path.join(folder, 'store') });
  store = await openStore({ path: path.join(folder, 'store') });
  disk = await store.createDisk({ name: 'fine', sizeBytes });
  coarse = await store.createDisk({ name: 'coarse', sizeBytes, sectorBytes: 4096 });
  await store.createVirtualMachine({ name: 'm', disks: { fine: 'fine' } });
  await disk.write(0, noise(1, sizeBytes));
});

afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

const invalid = { code: 'ARGUMENT_INVALID', kind: 'fix-call' };

const wrongOffsets: readonly unknown[] = [
  ...[-1, -512, 1, 511, 512.5, sizeBytes, sizeBytes * 2, 2 ** 53, 2 ** 63, 2 ** 64, 1e300],
  ...[NaN, Infinity, -Infinity, null, undefined, '0', 0n, {}, [], true, new Date(0), () => 0],
];
const wrongLengths: readonly unknown[] = [
  ...[-1, -512, 1, 511, 512.5, sizeBytes + 512, 2 ** 53, 2 ** 64, 1e300, NaN, Infinity, -Infinity],
  ...[null, undefined, '512', 512n, {}, [], true],
];
const wrongBytes: readonly unknown[] = [
  ...[null, undefined, 'text', 5, [1, 2], {}, new ArrayBuffer(512), new DataView(new ArrayBuffer(512))],
  ...[new Uint16Array(256), new Float64Array(64), new Uint8Array(511), new Uint8Array(sizeBytes + 512)],
];

/** All that takes an offset, with a length that fits. */
const calls = (on: Disk, offset: unknown, length: unknown): Promise<unknown>[] => [
  on.read(any(offset), any(length)),
  on.writeZeroes(any(offset), any(length)),
  on.trim(any(offset), any(length)),
  on.batch([{ kind: 'zero', offset: any(offset), length: any(length) }]),
  on.batch([{ kind: 'trim', offset: any(offset), length: any(length) }]),
];

async function expectInvalid(all: readonly Promise<unknown>[]): Promise<void> {
  for (const each of await Promise.allSettled(all)) {
    expect(each).toMatchObject({ status: 'rejected', reason: invalid });
  }
}

describe('a request to a live disk', () => {
  it.each(wrongOffsets.map((value) => [value]))('from %s is refused', async (offset) => {
    await expectInvalid([
      ...calls(disk, offset, 512),
      disk.write(any(offset), new Uint8Array(512)),
      disk.read(any(offset), new Uint8Array(512)),
      disk.batch([{ kind: 'write', offset: any(offset), bytes: new Uint8Array(512) }]),
      disk.batch([{ kind: 'read', offset: any(offset), buffer: new Uint8Array(512) }]),
    ]);
  });

  it.each(wrongLengths.map((value) => [value]))('of %s bytes is refused', async (length) => {
    await expectInvalid(calls(disk, 0, length));
  });

  it.each(wrongBytes.map((value) => [value]))('with %s for bytes is refused', async (bytes) => {
    await expectInvalid([
      disk.write(0, any(bytes)),
      disk.batch([{ kind: 'write', offset: 0, bytes: any(bytes) }]),
      disk.batch([{ kind: 'read', offset: 0, buffer: any(bytes) }]),
    ]);
  });

  it('that does not keep to sectors of 4096 is refused where they are that long', async () => {
    await expectInvalid([
      ...calls(coarse, 512, 4096),
      ...calls(coarse, 0, 512),
      coarse.write(512, new Uint8Array(4096)),
    ]);
    await coarse.write(4096, noise(3, 4096));
    expect(await coarse.read(4096, 4096)).toEqual(new Uint8Array(noise(3, 4096)));
  });

  it.each([
    ['no array', any(5)],
    ['an unknown kind', [any({ kind: 'format' })]],
    ['nothing', [any(undefined)]],
    ['an unknown member', [any({ kind: 'flush', now: true })]],
  ])('in a batch of %s is refused', async (_, operations) => {
    await expectInvalid([disk.batch(operations)]);
  });

  it('that is wrong in a batch keeps all of the batch from being done', async () => {
    const before = await disk.read(0, 4096);
    await expectInvalid([
      disk.batch([
        { kind: 'write', offset: 0, bytes: new Uint8Array(4096) },
        { kind: 'trim', offset: 1, length: 512 },
      ]),
    ]);
    expect(await disk.read(0, 4096)).toEqual(before);
  });

  it('of no bytes does nothing', async () => {
    const before = await disk.read(0, sizeBytes);
    for (const offset of [0, 512, sizeBytes]) {
      await disk.write(offset, new Uint8Array(0));
      await disk.writeZeroes(offset, 0);
      await disk.trim(offset, 0);
      expect(await disk.read(offset, 0)).toHaveLength(0);
    }
    await disk.batch([]);
    await disk.batch([
      { kind: 'write', offset: 0, bytes: new Uint8Array(0) },
      { kind: 'read', offset: 0, buffer: new Uint8Array(0) },
    ]);
    expect(await disk.read(0, sizeBytes)).toEqual(before);
  });

  it('takes the bytes as they are at the call, whatever becomes of the buffer', async () => {
    const whole = noise(7, 65_536);
    const ways: readonly ((bytes: Uint8Array<ArrayBuffer>) => void)[] = [
      (bytes) => bytes.fill(0xee),
      (bytes) => void structuredClone(bytes.buffer, { transfer: [bytes.buffer] }),
    ];
    for (const spoil of ways) {
      const pending: Promise<unknown>[] = [];
      for (let at = 0; at < whole.length; at += 4096) {
        const bytes = new Uint8Array(whole.subarray(at, at + 4096));
        const isBatch = (at / 4096) % 2 === 0;
        pending.push(isBatch ? disk.batch([{ kind: 'write', offset: at, bytes }]) : disk.write(at, bytes));
        spoil(bytes);
      }
      await Promise.all(pending);
      expect(Buffer.compare(await disk.read(0, whole.length), whole)).toBe(0);
      await disk.write(0, new Uint8Array(whole.length));
    }
  });

  it('reads where a shared buffer changes meanwhile, and writes whole calls out of one', async () => {
    const shared = new Uint8Array(new SharedArrayBuffer(4096));
    shared.set(noise(5, 4096));
    await disk.write(0, shared);
    shared.fill(0);
    await disk.read(0, shared);
    expect(Buffer.compare(shared, noise(5, 4096))).toBe(0);
  });

  it('gives a code, or the bytes, to a reader whose buffer is gone when it is done', async () => {
    for (const request of [
      (buffer: Uint8Array) => disk.read(0, buffer),
      (buffer: Uint8Array) => disk.batch([{ kind: 'read', offset: 0, buffer }]),
    ]) {
      const buffer = new Uint8Array(4096);
      const pending = request(buffer);
      structuredClone(buffer.buffer, { transfer: [buffer.buffer] });
      await expect(pending).rejects.toMatchObject(invalid);
    }
  });

  it('fills the buffers it was given, whatever becomes of the list', async () => {
    await disk.write(0, noise(9, 8192));
    const [first, second] = [new Uint8Array(4096), new Uint8Array(4096)];
    const operations: DiskOperation[] = [
      { kind: 'read', offset: 0, buffer: first },
      { kind: 'read', offset: 4096, buffer: second },
    ];
    const pending = disk.batch(operations);
    operations.shift();
    await pending;
    expect(Buffer.compare(Buffer.concat([first, second]), noise(9, 8192))).toBe(0);
  });

  it('to a detached disk is done, and to one that is gone is refused', async () => {
    const lone = await store.createDisk({ name: 'lone', sizeBytes });
    await lone.write(0, noise(2, 4096), { fua: true });
    expect(Buffer.compare(await lone.read(0, 4096), noise(2, 4096))).toBe(0);
    const pending = lone.write(0, noise(3, 4096));
    await pending;
    await lone.delete();
    const gone = { code: 'DISK_NOT_FOUND' };
    await expect(lone.read(0, 512)).rejects.toMatchObject(gone);
    await expect(lone.write(0, new Uint8Array(512))).rejects.toMatchObject(gone);
    await expect(lone.flush()).rejects.toMatchObject(gone);
    await expect(lone.batch([{ kind: 'flush' }])).rejects.toMatchObject(gone);
    expect(() => lone.readStream()).toThrow(expect.objectContaining(gone));
  });

  it('to a disk that is attached and detached meanwhile gives a code or is done', async () => {
    const moving = await store.createDisk({ name: 'moving', sizeBytes });
    await store.createVirtualMachine({ name: 'host', disks: {} });
    const writes = Array.from({ length: 400 }, (_, index) => moving.write(4096 * (index % 256), noise(index, 4096)));
    await moving.attach('host', 'data');
    writes.push(...Array.from({ length: 400 }, (_, index) => moving.write(4096 * (index % 256), noise(index, 4096))));
    await moving.detach();
    for (const each of await Promise.allSettled(writes)) {
      if (each.status === 'rejected') expect(each.reason).toHaveProperty('code');
    }
    expect(Buffer.compare(await moving.read(4096 * 99, 4096), noise(355, 4096))).toBe(0);
  });

  it('to a store that is open for reading only, a second time, or closed is refused', async () => {
    const where = path.join(folder, 'other');
    await createStore({ path: where });
    const open = await openStore({ path: where });
    const own = await open.createDisk({ name: 'd', sizeBytes });
    await expect(openStore({ path: where })).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    await using look = await openStore({ path: where, readOnly: true });
    const shown = await look.disk('d').catch((error: unknown) => error);
    if (shown instanceof Error) expect(shown).toHaveProperty('code');
    const pending = Array.from({ length: 200 }, (_, index) => own.write(4096 * index, noise(index, 4096)));
    const closing = open.close();
    await expect(own.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    await Promise.all(pending);
    await closing;
    const closed = { code: 'STORE_CLOSED' };
    await expect(own.read(0, 512)).rejects.toMatchObject(closed);
    await expect(own.flush()).rejects.toMatchObject(closed);
    await expect(own.batch([])).rejects.toMatchObject(closed);
    await using again = await openStore({ path: where });
    const back = await again.disk('d');
    for (let index = 0; index < 200; index += 1) {
      expect(Buffer.compare(await back.read(4096 * index, 4096), noise(index, 4096))).toBe(0);
    }
  });
});
