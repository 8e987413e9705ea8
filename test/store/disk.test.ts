/** Bytes of live disks: what may be passed, what comes back, and what is refused, always with a code. */

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { describe, expect, it } from 'vitest';

import { isStillpointError } from '../../src/store/errors.js';
import type { Disk } from '../../src/store/disk-handle.js';
import type { Store } from '../../src/store/handles.js';
import type { StoreEvent } from '../../src/store/events.js';
import { World } from './world.js';

async function newDisk(sizeBytes = 8192, sectorBytes = 512): Promise<{ world: World; store: Store; disk: Disk }> {
  const world = await World.empty();
  const store = await world.open();
  return { world, store, disk: await store.createDisk({ name: 'disk', sizeBytes, sectorBytes }) };
}

/** What JavaScript callers may pass. */
// A cast: these tests pass what the types forbid.
const loose = (value: unknown): never => value as never;

describe('a live disk', () => {
  it('reads back what was written, zeroed and trimmed', async () => {
    const { disk } = await newDisk();
    const first = await disk.write(512, new Uint8Array(1024).fill(7));
    const second = await disk.writeZeroes(512, 512);
    await disk.trim(1024, 0);
    const buffer = new Uint8Array(1024);

    expect(await disk.read(512, buffer)).toBe(buffer);
    expect(buffer).toEqual(new Uint8Array(1024).fill(7, 512));
    expect(BigInt(second) > BigInt(first)).toBe(true);
    expect(await disk.read(0, 0)).toEqual(new Uint8Array(0));
    await disk.trim(1024, 512, { fua: true });
    await disk.flush();
    expect(await disk.read(0, 8192)).toEqual(new Uint8Array(8192));
  });

  it('keeps after a power cut what was flushed or written with fua, and what is older', async () => {
    const { world, disk } = await newDisk();
    await disk.write(0, new Uint8Array(512).fill(1));
    await disk.write(512, new Uint8Array(512).fill(2), { fua: true });
    await disk.write(1024, new Uint8Array(512).fill(3));

    const again = await world.restart();

    const bytes = await (await again.disk('disk')).read(0, 1536);
    expect([bytes[0], bytes[512], bytes[1024]]).toEqual([1, 2, 0]);
    expect(again.findings.map(({ code }) => code)).toEqual(['UNCLEAN_STOP']);
  });

  it('keeps after the end of the process all that was acknowledged', async () => {
    const { world, disk } = await newDisk();
    await disk.write(0, new Uint8Array(512).fill(1));

    const again = await world.restart('everything');

    expect((await (await again.disk('disk')).read(0, 512))[0]).toBe(1);
    expect(again.findings).toEqual([]);
  });

  it('takes the bytes as they are at the call', async () => {
    const { disk } = await newDisk();
    const bytes = new Uint8Array(512).fill(1);
    const writing = disk.write(0, bytes);
    bytes.fill(9);
    const batched = new Uint8Array(512).fill(2);
    const batching = disk.batch([{ kind: 'write', offset: 512, bytes: batched }]);
    batched.fill(9);
    await Promise.all([writing, batching]);

    const found = await disk.read(0, 1024);
    expect([found[0], found[512]]).toEqual([1, 2]);
  });

  it('takes many operations with one call, in their order', async () => {
    const { disk } = await newDisk();
    const buffer = new Uint8Array(1024);

    await disk.batch([
      { kind: 'write', offset: 0, bytes: new Uint8Array(1024).fill(1) },
      { kind: 'write', offset: 512, bytes: new Uint8Array(512).fill(2), fua: true },
      { kind: 'zero', offset: 0, length: 512 },
      { kind: 'trim', offset: 4096, length: 512 },
      { kind: 'read', offset: 0, buffer },
      { kind: 'flush' },
    ]);
    await disk.batch([]);

    expect([buffer[0], buffer[512]]).toEqual([0, 2]);
  });

  it('grows, and reads as zero there', async () => {
    const { store, disk } = await newDisk(1024);
    await disk.write(512, new Uint8Array(512).fill(1));

    expect((await disk.grow(2048)).sizeBytes).toBe(2048);
    expect((await disk.read(512, 1536)).findLastIndex((byte) => byte !== 0)).toBe(511);
    expect((await store.disk('DISK')).info).toEqual(disk.info);
    expect(JSON.parse(JSON.stringify(disk))).toEqual(disk.info);
    for (const size of [1024, 2049, 0, -1, 2 ** 47, Number.NaN]) {
      await expect(disk.grow(size), String(size)).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    }
  });

  it.each([
    ['past the end', (disk: Disk) => disk.read(8192, 512)],
    ['across the end', (disk: Disk) => disk.write(7680, new Uint8Array(1024))],
    ['negative', (disk: Disk) => disk.read(-512, 512)],
    ['of a negative length', (disk: Disk) => disk.trim(0, -512)],
    ['misaligned at its beginning', (disk: Disk) => disk.write(100, new Uint8Array(512))],
    ['misaligned at its end', (disk: Disk) => disk.read(0, 100)],
    ['of a misaligned buffer', (disk: Disk) => disk.read(0, new Uint8Array(100))],
    ['no whole number', (disk: Disk) => disk.writeZeroes(0.5, 512)],
    ['no number', (disk: Disk) => disk.read(loose('0'), 512)],
    ['not there', (disk: Disk) => disk.read(loose(undefined), 512)],
    ['a bigint', (disk: Disk) => disk.read(loose(0n), 512)],
    ['infinite', (disk: Disk) => disk.trim(0, Number.POSITIVE_INFINITY)],
    ['beyond safe integers', (disk: Disk) => disk.read(2 ** 60, 512)],
    ['larger than a call moves', (disk: Disk) => disk.read(0, 2 ** 40)],
    ['of no bytes', (disk: Disk) => disk.write(0, loose('text'))],
    ['of an array', (disk: Disk) => disk.write(0, loose([1, 2]))],
    ['with fua of another type', (disk: Disk) => disk.write(0, new Uint8Array(512), loose({ fua: 1 }))],
    ['with an unknown option', (disk: Disk) => disk.flush(loose({ sync: true }))],
    ['with a signal that is none', (disk: Disk) => disk.flush(loose({ signal: 1 }))],
    ['of a batch that is none', (disk: Disk) => disk.batch(loose({}))],
    ['of an unknown operation', (disk: Disk) => disk.batch(loose([{ kind: 'discard' }]))],
    [
      'of a batch with a misaligned write',
      (disk: Disk) => disk.batch([{ kind: 'write', offset: 1, bytes: new Uint8Array(512) }]),
    ],
    ['of a batch with a hole', (disk: Disk) => disk.batch(loose([null]))],
  ])('refuses a range %s with a code, and changes nothing', async (_, call) => {
    const { disk } = await newDisk();

    const error: unknown = await call(disk).catch((reason: unknown) => reason);

    expect(isStillpointError(error, 'ARGUMENT_INVALID'), String(error)).toBe(true);
    expect(await disk.read(0, 8192)).toEqual(new Uint8Array(8192));
  });

  it('with sectors of 4096 bytes takes no smaller ranges', async () => {
    const { disk } = await newDisk(8192, 4096);
    await expect(disk.write(512, new Uint8Array(4096))).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    await expect(disk.read(0, 512)).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    expect(await disk.write(4096, new Uint8Array(4096))).toMatch(/^\d+$/);
  });

  it('refuses calls with an aborted signal, of a closed store, and after its deletion', async () => {
    const { store, disk } = await newDisk();
    const signal = AbortSignal.abort();
    await expect(disk.write(0, new Uint8Array(512), { signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    const other = await store.createDisk({ name: 'other', sizeBytes: 512 });
    await other.delete();
    await expect(other.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' });
    expect(() => other.info).toThrow(expect.objectContaining({ code: 'DISK_NOT_FOUND' }));
    await store.close();
    await expect(disk.read(0, 512)).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    await expect(disk.delete()).rejects.toMatchObject({ code: 'STORE_CLOSED' });
  });

  it.each([
    [{ name: 'a b', sizeBytes: 512 }, 'NAME_INVALID'],
    [{ name: 'DISK', sizeBytes: 512 }, 'DISK_EXISTS'],
  ])('is not created as %j: %s', async (request, code) => {
    const { store } = await newDisk();
    await expect(store.createDisk(request)).rejects.toMatchObject({ code });
    expect((await store.disks()).map(({ name }) => name)).toEqual(['disk']);
  });

  it('is created once when two callers want its name', async () => {
    const { store } = await newDisk();
    const both = await Promise.allSettled(['a', 'A'].map((name) => store.createDisk({ name, sizeBytes: 512 })));
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });
});

describe('streams of a live disk', () => {
  it('write and read all of it, whatever the pieces', async () => {
    const { store } = await newDisk();
    const disk = await store.createDisk({ name: 'big', sizeBytes: 3 << 20 });
    const pieces = [700, 1 << 20, 324, (2 << 20) - 1024].map((length, index) => Buffer.alloc(length, index + 1));
    const all = Buffer.concat(pieces);

    await pipeline(Readable.from(pieces), disk.writeStream());

    const read: Buffer[] = [];
    for await (const piece of disk.readStream()) read.push(piece as Buffer);
    expect(Buffer.compare(Buffer.concat(read), all)).toBe(0);
    const part: Buffer[] = [];
    for await (const piece of disk.readStream({ start: 512, end: 1024 })) part.push(piece as Buffer);
    expect(Buffer.compare(Buffer.concat(part), all.subarray(512, 1024))).toBe(0);
  });

  it('fail with a code when the bytes end within a sector, or go past the end', async () => {
    const { disk } = await newDisk(1024);
    await expect(pipeline(Readable.from([Buffer.alloc(700)]), disk.writeStream())).rejects.toMatchObject({
      code: 'ARGUMENT_INVALID',
    });
    await expect(pipeline(Readable.from([Buffer.alloc(1536)]), disk.writeStream())).rejects.toMatchObject({
      code: 'ARGUMENT_INVALID',
    });
    await expect(
      pipeline(Readable.from([Buffer.alloc(512)]), disk.writeStream({ signal: AbortSignal.abort() })),
    ).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(() => disk.readStream({ start: 100 })).toThrow(expect.objectContaining({ code: 'ARGUMENT_INVALID' }));
    expect(() => disk.writeStream({ start: 2048 })).toThrow(expect.objectContaining({ code: 'ARGUMENT_INVALID' }));
  });
});

describe('events', () => {
  async function nextOf(events: AsyncIterator<StoreEvent>): Promise<unknown> {
    const next: IteratorResult<StoreEvent, unknown> = await events.next();
    return next.value;
  }

  it('tell of logs that were not closed, of copies, and end when the store is closed', async () => {
    const { world, store } = await World.makeManaged();
    await (await store.disk('db-os')).flush();
    await world.fill(store, 'db-os', 2);
    const again = await world.restart();
    const events = again.events()[Symbol.asyncIterator]();

    expect(await nextOf(events)).toMatchObject({ kind: 'unclean', machine: 'db', droppedRecords: 1 });
    await (await again.capture('db', { name: 'rp1' })).copied();
    expect(await nextOf(events)).toEqual({ kind: 'copied', point: 'db/default/rp1' });
    await again.close();
    expect(await nextOf(events)).toBeUndefined();
  });

  it('tell when writers get ahead, and when it is normal again', async () => {
    const { world, store } = await World.makeManaged();
    const abort = new AbortController();
    const events = store.events({ intervalMs: 10, signal: abort.signal })[Symbol.asyncIterator]();
    const pressure = { debtBytes: 100, logBytes: 50, layers: 2 };
    world.engine.setPressure({ ...pressure, availableBytes: 60 });
    expect(await nextOf(events)).toMatchObject({ kind: 'pressure', level: 'high', ...pressure });
    world.clock.advance(1000);
    world.engine.setPressure({ ...pressure, availableBytes: 0 });
    expect(await nextOf(events)).toMatchObject({ level: 'full', fullInMs: 0 });
    world.engine.setPressure(null);
    expect(await nextOf(events)).toMatchObject({ level: 'normal', fullInMs: null });
    abort.abort();
    expect(await nextOf(events)).toBeUndefined();
  });
});
