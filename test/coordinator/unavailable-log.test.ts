/** A write log that could not be opened: its machine waits, everything else goes on, and it can be tried again. */

import { describe, expect, it } from 'vitest';

import { onOpen } from '../../src/coordinator/on-open.js';
import { StillpointError } from '../../src/store/errors.js';
import type { Store } from '../../src/store/handles.js';
import { listing, storePath, World } from '../store/world.js';

const codes = (store: Store): string[] => store.findings.map(({ code }) => code);
const unavailable = expect.objectContaining({ code: 'LOG_UNAVAILABLE' });

const full = new StillpointError('NO_SPACE', 'the disk is full');

function failCopies(world: World): void {
  world.onEngineStep = (step) => {
    if (step === 'copy-before') throw full;
  };
}

/** Closes the store and loses its catalog; the machine's id. */
async function loseCatalog(world: World, store: Store): Promise<string> {
  const { id } = await store.virtualMachine('db');
  await store.close();
  world.storage.records.clear();
  return id;
}

/** A world whose machine `db` has a copied point `old` and a point `new`, and more, that are cut, with its log closed. */
async function closedLog(more: readonly string[] = []): Promise<{ world: World; store: Store; id: string }> {
  const { world, store } = await World.makeManaged();
  const { id } = await store.virtualMachine('db');
  await store.createDisk({ name: 'spare', sizeBytes: 512 });
  await (await store.capture('db', { name: 'old' })).copied();
  failCopies(world);
  for (const name of ['new', ...more]) await store.capture('db', { name });
  world.engine.failLog(storePath, id, 'IO_FAILED');
  await store.close();
  world.onEngineStep = () => undefined;
  return { world, store: await world.open(), id };
}

/** A rebuilt catalog, the log closed: a copied point `old`, a failed one that the dump has, and in the log `new` between them. */
async function interruptedAndLost(): Promise<{ world: World; rebuilt: Store; id: string }> {
  const { world, store } = await World.makeManaged();
  const { id } = await store.virtualMachine('db');
  await (await store.capture('db', { name: 'old' })).copied();
  failCopies(world);
  await store.capture('db', { name: 'new' });
  world.onEngineStep = (step) => {
    if (step === 'copy-before') throw full;
    if (step === 'durable-after') world.end();
  };
  await expect(store.capture('db', { name: 'interrupted' })).rejects.toThrow();
  failCopies(world);
  const second = await world.restart('everything');
  world.engine.failLog(storePath, id, 'IO_FAILED');
  await loseCatalog(world, second);
  world.onEngineStep = () => undefined;
  return { world, rebuilt: await world.open(), id };
}

describe('what is decided about a point of a log that could not be opened', () => {
  it.each([
    ['creating', 'keep'],
    ['cut', 'keep'],
    ['copied', 'keep'],
    ['failed', 'keep-and-report'],
    ['deleting', 'finish-delete'],
    [null, 'keep'],
  ] as const)('that is %s and has no manifest is to %s', (state, action) => {
    expect(onOpen(state, 'unknown', 'absent', 'sound')).toBe(action);
  });
});

describe('a store with a log that could not be opened', () => {
  it('opens, says which and why, and takes nothing for lost', async () => {
    const { store, id } = await closedLog();
    expect(codes(store)).toEqual(['LOG_UNAVAILABLE']);
    expect(store.findings[0]?.file).toBe(`live/${id}`);
    expect(await listing(store)).toEqual(['db/default/old copied', 'db/default/new cut']);
    const disks = await store.disks();
    expect(disks.map(({ name, unavailable: waiting }) => `${name} ${waiting?.code ?? 'ready'}`)).toEqual([
      'db-data IO_FAILED',
      'db-os IO_FAILED',
      'spare ready',
    ]);
    expect((await store.virtualMachine('db')).unavailable?.code).toBe('IO_FAILED');
  });

  it('answers for its machine with the code, reads what is copied, and serves other disks', async () => {
    const { store } = await closedLog();
    const disk = await store.disk('db-os');
    await expect(disk.read(0, 512)).rejects.toEqual(unavailable);
    await expect(disk.write(0, new Uint8Array(512))).rejects.toEqual(unavailable);
    await expect(disk.detach()).rejects.toEqual(unavailable);
    await expect(disk.delete()).rejects.toMatchObject({ code: 'DISK_ATTACHED' });
    await expect(store.capture('db')).rejects.toEqual(unavailable);
    await expect(store.read('db/new', { disk: 'os', offset: 0, length: 1 })).rejects.toEqual(unavailable);
    expect(await listing(store)).toEqual(['db/default/old copied', 'db/default/new cut']);
    expect((await store.read('db/old', { disk: 'os', offset: 0, length: 1 }))[0]).toBe(1);
    const spare = await store.disk('spare');
    await spare.write(0, new Uint8Array(512).fill(3));
    await store.createVirtualMachine({ name: 'other', disks: { os: 'spare' } });
    await (await store.capture('other')).copied();
  });

  it('keeps the machine when it is to be deleted', async () => {
    const { store } = await closedLog();
    await store.deletePoint('db/old');
    await store.deletePoint('db/new');
    await expect(store.deleteVirtualMachine('db')).rejects.toMatchObject({ code: 'LOG_UNAVAILABLE' });
    expect((await store.virtualMachines()).map(({ name }) => name)).toEqual(['db']);
  });

  it('goes on with the machine once the log is opened, in the same store', async () => {
    const { world, store, id } = await closedLog();
    expect((await store.reopenLogs()).map(({ code }) => code)).toEqual(['LOG_UNAVAILABLE']);
    world.engine.failLog(storePath, id, null);
    expect(await store.reopenLogs()).toEqual([]);
    await expect.poll(() => listing(store)).toEqual(['db/default/old copied', 'db/default/new copied']);
    expect((await store.disks()).every(({ unavailable: waiting }) => waiting === undefined)).toBe(true);
    await (await store.capture('db')).copied();
    expect(await store.reopenLogs()).toEqual([]);
    await store.close();
    expect(codes(await world.open())).toEqual([]);
  });

  it('finishes what was interrupted when the log is opened', async () => {
    const { world, store } = await World.makeManaged();
    const { id } = await store.virtualMachine('db');
    world.onEngineStep = (step) => {
      if (step === 'durable-after') world.end();
    };
    await expect(store.capture('db', { name: 'rp1' })).rejects.toThrow();
    world.onEngineStep = () => undefined;
    world.engine.failLog(storePath, id, 'NO_SPACE');
    const again = await world.restart('everything');
    expect(codes(again)).toEqual(['LOG_UNAVAILABLE']);
    world.engine.failLog(storePath, id, null);
    expect((await again.reopenLogs()).map(({ code }) => code)).toEqual(['WORK_INTERRUPTED']);
    expect([await listing(again), world.cuts]).toEqual([['db/default/rp1 failed'], []]);
  });

  it('takes its cuts for points where the catalog was rebuilt meanwhile', async () => {
    const { world, store, id } = await closedLog();
    await loseCatalog(world, store);
    const rebuilt = await world.open();
    expect(codes(rebuilt)).toEqual(['CATALOG_DAMAGED', 'LOG_UNAVAILABLE']);
    expect(await listing(rebuilt)).toEqual(['db/default/old copied']);
    world.engine.failLog(storePath, id, null);
    await rebuilt.close();
    const again = await world.open();
    await expect.poll(() => listing(again)).toEqual(['db/default/old copied', 'db/default/new copied']);
  });

  it.each([1, 2, 3])('takes all of them, also after %s captures that were refused meanwhile', async (count) => {
    const { world, store } = await closedLog(['second', 'third']);
    const id = await loseCatalog(world, store);
    const rebuilt = await world.open();
    for (let number = 0; number < count; number += 1) {
      await expect(rebuilt.capture('db')).rejects.toEqual(unavailable);
    }
    world.engine.failLog(storePath, id, null);

    await rebuilt.reopenLogs();

    const expected = ['old', 'new', 'second', 'third'].map((name) => `db/default/${name} copied`);
    await expect.poll(() => listing(rebuilt)).toEqual(expected);
    expect((await rebuilt.capture('db')).sequence).toBe(5);
    await rebuilt.deletePoint('db/second');
    await rebuilt.close();
    const again = await world.open();
    expect(codes(again)).toEqual([]);
    expect((await listing(again)).filter((point) => point.includes('second'))).toEqual([]);
  });

  it('takes those below a failed point that the dump has', async () => {
    const { world, rebuilt, id } = await interruptedAndLost();
    world.engine.failLog(storePath, id, null);

    await rebuilt.reopenLogs();

    const points = ['old copied', 'new copied', 'interrupted failed'].map((point) => `db/default/${point}`);
    await expect.poll(() => listing(rebuilt)).toEqual(points);
    await rebuilt.deletePoint('db/new');
    await rebuilt.close();
    const again = await world.open();
    expect(await listing(again)).toEqual(['db/default/old copied', 'db/default/interrupted failed']);
  });

  it('does not take for lost what is deleted: such a point can be deleted once the log is open', async () => {
    const { world, rebuilt, id } = await interruptedAndLost();
    await expect(rebuilt.deletePoint('db/interrupted')).rejects.toEqual(unavailable);
    expect(await listing(rebuilt)).toEqual(['db/default/old copied', 'db/default/interrupted failed']);
    world.engine.failLog(storePath, id, null);
    await rebuilt.reopenLogs();

    await rebuilt.deletePoint('db/interrupted');

    await expect.poll(() => listing(rebuilt)).toEqual(['db/default/old copied', 'db/default/new copied']);
    await rebuilt.close();
    const again = await world.open();
    expect(await listing(again)).toEqual(['db/default/old copied', 'db/default/new copied']);
  });
});
