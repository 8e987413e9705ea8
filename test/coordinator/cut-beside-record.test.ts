/**
 * The cut of a machine whose next sequence is reserved goes on beside the batch that makes the point's record; whatever
 * fails or ends in between, nobody can use a point that no caller was told of, and none is lost that one was told of.
 */

import { describe, expect, it } from 'vitest';

import { StillpointError } from '../../src/store/errors.js';
import type { Store } from '../../src/store/handles.js';
import { keptModes } from '../catalog/simulated-storage.js';
import { held, isProcessEnd, listing, storePath, World } from '../store/world.js';

/** A machine with one copied point, so that the sequence of the next is reserved; disks filled with 2 since. */
async function reserved(): Promise<{ world: World; store: Store }> {
  const { world, store } = await World.makeManaged();
  await (await store.capture('db', { name: 'rp1' })).copied();
  await expect.poll(() => world.cuts).toEqual([]);
  for (const name of ['db-os', 'db-data']) await world.fill(store, name, 2);
  world.steps.length = 0;
  return { world, store };
}

/** Lets the next batch wait until the engine has come to a step, and then for what `then` says. */
function batchAfter(world: World, step: string, then: () => void): void {
  const gate = held();
  world.onEngineStep = (name) => {
    if (name === step) gate.release();
  };
  world.storage.onBatch = async () => {
    await gate.promise;
    world.storage.onBatch = () => undefined;
    world.onEngineStep = () => undefined;
    then();
  };
}

const codes = (store: Store): string[] => store.findings.map(({ code }) => code);

/** The store works on, what was there is there, and no sequence is given twice. */
async function checkGoesOn(world: World, store: Store, sequence: number): Promise<void> {
  const point = await store.capture('db', { name: 'later' });
  expect(point.sequence).toBe(sequence);
  await point.copied();
  expect((await store.read('db/later', { disk: 'os', offset: 0, length: 1 }))[0]).toBe(2);
  expect((await store.read('db/rp1', { disk: 'os', offset: 0, length: 1 }))[0]).toBe(1);
  await expect.poll(() => [world.manifests.length, world.cuts.length]).toEqual([2, 0]);
}

const full = new StillpointError('NO_SPACE', 'the file system is full');

/** Lets the next batches meet a full disk. */
function failBatches(world: World, batches: number): void {
  let count = 0;
  world.storage.onBatch = () => {
    count += 1;
    if (count <= 2 * batches) throw full; // each is tried twice
  };
}

describe('a capture of a machine with managed disks', () => {
  it('cuts after its record where the machine has had none, and beside it from then on', async () => {
    const { world, store } = await World.makeManaged();
    world.steps.length = 0;
    await (await store.capture('db', { name: 'rp1' })).copied();
    expect(world.steps[world.steps.indexOf('cut-before') - 1]).toMatch(/^sync catalog\.slot/);

    world.steps.length = 0;
    batchAfter(world, 'durable-after', () => undefined);
    const point = await store.capture('db', { name: 'rp2' });

    expect(point).toMatchObject({ state: 'cut', sequence: 2 });
    expect(world.steps.indexOf('batch begins')).toBeGreaterThan(world.steps.indexOf('durable-after'));
    await point.copied();
  });

  it('does not cut what it refuses', async () => {
    const { world, store } = await reserved();

    await expect(store.capture('db', { name: 'rp1' })).rejects.toMatchObject({ code: 'POINT_EXISTS' });

    expect(world.steps).toEqual([]);
    await checkGoesOn(world, store, 2);
  });

  it('that finds no space for its record drops its cut', async () => {
    const { world, store } = await reserved();
    failBatches(world, 1);

    await expect(store.capture('db', { name: 'rp2' })).rejects.toMatchObject({ code: 'NO_SPACE' });

    expect(world.steps).toContain('drop-after');
    expect([await listing(store), world.cuts]).toEqual([['db/default/rp1 copied'], []]);
    await checkGoesOn(world, store, 3);
    await store.close();
    expect(codes(await world.open())).toEqual([]);
  });

  it.each([
    ['noted', 1],
    ['not even noted', 2],
  ])(
    'that is made again after that has the name where a rebuild finds both cuts, the number %s',
    async (_, batches) => {
      const { world, store } = await reserved();
      failBatches(world, batches);
      await expect(store.capture('db', { name: 'rp2' })).rejects.toMatchObject({ code: 'NO_SPACE' });
      world.onEngineStep = (step) => {
        if (step === 'copy-before') throw full;
      };
      const { id } = await store.capture('db', { name: 'rp2' });
      await store.close();
      world.storage.records.clear();

      const again = await world.open();

      expect((await again.restorePoint('db/rp2')).id).toBe(id);
      expect((await again.restorePoints()).map(({ name, sequence }) => `${name} ${sequence}`)).toEqual([
        'rp1 1',
        'rp2-2 2',
        'rp2 3',
      ]);
    },
  );

  it('whose record may or may not be there holds no log, and is known as interrupted', async () => {
    const { world, store } = await reserved();
    world.storage.onBatch = () => {
      throw new StillpointError('IO_FAILED', 'the device failed');
    };

    await expect(store.capture('db', { name: 'rp2' })).rejects.toMatchObject({ code: 'IO_FAILED' });

    expect(world.cuts).toEqual([]);
    world.storage.onBatch = () => undefined;
    await store.close();
    const again = await world.open();
    expect(codes(again)).toEqual(['WORK_INTERRUPTED']);
    expect(await listing(again)).toEqual(['db/default/rp1 copied', 'db/default/rp2 failed']);
    await checkGoesOn(world, again, 3);
  });

  it.each(['cut-before', 'durable-before'])('that fails at %s leaves neither record nor cut', async (step) => {
    const { world, store } = await reserved();
    world.onEngineStep = (name) => {
      if (name === step) throw new StillpointError('NO_SPACE', 'the file system is full');
    };

    await expect(store.capture('db', { name: 'rp2' })).rejects.toMatchObject({ code: 'NO_SPACE' });

    world.onEngineStep = () => undefined;
    expect([await listing(store), world.cuts]).toEqual([['db/default/rp1 copied'], []]);
    // Its record, with the number, was durable.
    expect((await store.capture('db', { name: 'later' })).sequence).toBe(3);
  });

  it('that is cancelled meanwhile leaves neither', async () => {
    const { world, store } = await reserved();
    const abort = new AbortController();
    batchAfter(world, 'cut-after', () => {
      abort.abort();
    });

    await expect(store.capture('db', { name: 'rp2', signal: abort.signal })).rejects.toMatchObject({
      code: 'CANCELLED',
    });

    expect([await listing(store), world.cuts]).toEqual([['db/default/rp1 copied'], []]);
  });
});

describe.each(keptModes)('a process that ends with a cut and no record, %s kept of what was not synced,', (kept) => {
  it.each(['cut-after', 'durable-after'])('at %s has a failed one at the next open, or none', async (step) => {
    const { world, store } = await reserved();
    batchAfter(world, step, () => world.end());
    await expect(store.capture('db', { name: 'rp2' })).rejects.toSatisfy(isProcessEnd);
    const isInLog = step === 'durable-after' || kept !== 'nothing';

    const again = await world.restart(kept);

    expect(codes(again).filter((code) => code !== 'UNCLEAN_STOP')).toEqual(isInLog ? ['WORK_INTERRUPTED'] : []);
    const failed = isInLog ? ['db/default/rp2 failed'] : [];
    expect([await listing(again), world.cuts]).toEqual([['db/default/rp1 copied', ...failed], []]);
    await expect(again.read('db/rp2', { disk: 'os', offset: 0, length: 1 })).rejects.toThrow();
    for (const name of ['db-os', 'db-data']) await world.fill(again, name, 2);
    await checkGoesOn(world, again, isInLog ? 3 : 2);
    await again.close();
    world.storage.records.clear();
    const rebuilt = await world.open();
    expect(await listing(rebuilt)).toEqual(['db/default/rp1 copied', ...failed, 'db/default/later copied']);
  });

  it('has the same where the log can be opened only later', async () => {
    const { world, store } = await reserved();
    const { id } = await store.virtualMachine('db');
    batchAfter(world, 'durable-after', () => world.end());
    await expect(store.capture('db', { name: 'rp2' })).rejects.toSatisfy(isProcessEnd);
    world.engine.failLog(storePath, id, 'IO_FAILED');

    const again = await world.restart(kept);
    expect(codes(again)).toEqual(['LOG_UNAVAILABLE']);
    world.engine.failLog(storePath, id, null);
    expect((await again.reopenLogs()).map(({ code }) => code)).toContain('WORK_INTERRUPTED');

    expect([await listing(again), world.cuts]).toEqual([['db/default/rp1 copied', 'db/default/rp2 failed'], []]);
    await checkGoesOn(world, again, 3);
  });
});
