/** Captures of machines with managed disks: the answer after the cut, instant access, the copy behind it, deletion. */

import { describe, expect, it } from 'vitest';

import { StillpointError } from '../../src/store/errors.js';
import type { Store } from '../../src/store/handles.js';
import { held, listing, storePath, World } from '../store/world.js';

const first = async (store: Store, point: string, disk = 'os'): Promise<number | undefined> =>
  (await store.read(point, { disk, offset: 0, length: 1 }))[0];

async function extents(store: Store): Promise<unknown[]> {
  const found = [];
  for await (const extent of store.diff('db/rp1', 'db/rp2', { disk: 'os', granularity: 512 })) found.push(extent);
  return found;
}

/** Holds all copies until they are released. */
function holdCopies(world: World): () => void {
  const gate = held();
  world.onEngineStep = (step) => (step === 'copy-before' ? gate.promise : undefined);
  return () => {
    world.onEngineStep = () => undefined;
    gate.release();
  };
}

function failCopies(world: World): void {
  world.onEngineStep = (step) => {
    if (step === 'copy-before') throw new StillpointError('NO_SPACE', 'the disk is full');
  };
}

describe('a capture of managed disks', () => {
  it('answers after the cut, with everything a caller may want to know', async () => {
    const { world, store } = await World.makeManaged();
    const release = holdCopies(world);

    const point = await store.capture('DB', { name: 'rp1', collection: 'Daily' });

    expect(JSON.parse(JSON.stringify(point))).toMatchObject({
      reference: 'db/Daily/rp1',
      sequence: 1,
      state: 'cut',
      completionPercent: 0,
      consistency: { requested: null, reached: 'crashConsistent', writers: [] },
      configuration: { vcpus: 4 },
      disks: [
        { role: 'os', name: 'db-os', kind: 'managed', source: '', sizeBytes: 4096, sectorBytes: 512, excluded: false },
        { role: 'data', name: 'db-data', kind: 'managed', sizeBytes: 4096, excluded: false },
      ],
    });
    expect(point.lsn).toMatch(/^[1-9]\d*$/);
    expect(world.manifests).toEqual([]);
    expect((await store.status()).work).toEqual([
      { machine: 'db', point: 'db/Daily/rp1', state: 'cut', completionPercent: 0 },
    ]);
    release();
    const copied = await point.copied();
    expect(copied).toMatchObject({ id: point.id, lsn: point.lsn, state: 'copied', captured: { bytesRead: 8192 } });
    expect('completionPercent' in copied).toBe(false);
    expect(point.completionPercent).toBe(100);
    expect(world.manifests).toEqual([point.id]);
    expect(world.cuts).toEqual([]);
  });

  it('gives a point that can be read, diffed, restored and cloned while its copy runs; the diff equals the one after', async () => {
    const { world, store } = await World.makeManaged();
    await (await store.capture('db', { name: 'rp1' })).copied();
    await world.fill(store, 'db-os', 2);
    const release = holdCopies(world);
    const point = await store.capture('db', { name: 'rp2' });
    await world.fill(store, 'db-os', 3);

    expect(await first(store, 'db/rp2')).toBe(2);
    const during = await extents(store);
    expect(during).toEqual([{ offset: 0, length: 4096, kind: 'data' }]);
    const clone = await store.cloneDisk('copy', 'db/rp2/os');
    expect((await clone.read(0, 512))[0]).toBe(2);

    release();
    await point.copied();
    expect(await extents(store)).toEqual(during);
    expect(await first(store, 'db/rp2')).toBe(2);
    expect((await (await store.disk('db-os')).read(0, 512))[0]).toBe(3);
  });

  it('leaves excluded disks out', async () => {
    const { store } = await World.makeManaged();

    const point = await store.capture('db', { name: 'rp1', exclude: ['data'] });

    expect(point.disks[1]).toMatchObject({ role: 'data', excluded: true, sizeBytes: 0 });
    const refusal = { code: 'DISK_NOT_FOUND' };
    await expect(first(store, 'db/rp1', 'data')).rejects.toMatchObject(refusal);
    await point.copied();
    await expect(first(store, 'db/rp1', 'data')).rejects.toMatchObject(refusal);
    await expect(store.capture('db', { exclude: ['os', 'data'] })).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
  });

  it('may be taken again while copies go on, which end one after the other', async () => {
    const { world, store } = await World.makeManaged();
    const release = holdCopies(world);
    const points = [await store.capture('db'), await store.capture('db'), await store.capture('db')];
    const ended: string[] = [];
    const waiting = points.map(async (point) => {
      await point.copied();
      ended.push(point.id);
    });
    expect(world.steps.filter((step) => step === 'copy-before')).toHaveLength(1);

    release();
    await Promise.all(waiting);

    expect(ended).toEqual(points.map(({ id }) => id));
  });

  it('is refused while another one of the machine has no answer yet', async () => {
    const { store } = await World.makeManaged();

    const both = await Promise.allSettled([store.capture('db'), store.capture('db')]);

    expect(both.map((each) => (each.status === 'rejected' ? (each.reason as StillpointError).code : 'done'))).toEqual([
      'done',
      'CAPTURE_IN_PROGRESS',
    ]);
  });

  it('is refused with kind retry while too many points wait for their copies, and goes on when one is copied', async () => {
    const { world, store } = await World.makeManaged();
    failCopies(world);
    const points = [];
    for (let count = 0; count < 8; count += 1) points.push(await store.capture('db'));

    await expect(store.capture('db', { name: 'late' })).rejects.toMatchObject({ code: 'LAYERS_FULL', kind: 'retry' });
    expect(await listing(store)).toHaveLength(8);

    world.onEngineStep = () => undefined;
    await points[0]?.copied();
    expect((await store.capture('db', { name: 'late' })).state).toBe('cut');
  });

  it.each(['cut-before', 'cut-after', 'durable-before', 'durable-after'])(
    'that fails at %s leaves no point and no cut',
    async (at) => {
      const { world, store } = await World.makeManaged();
      world.onEngineStep = (step) => {
        if (step === at) throw new StillpointError('LOG_FENCED', 'a sync failed');
      };

      await expect(store.capture('db', { name: 'rp1' })).rejects.toMatchObject({ code: 'LOG_FENCED' });

      expect(await listing(store)).toEqual([]);
      expect(world.cuts).toEqual([]);
      world.onEngineStep = () => undefined;
      expect((await store.capture('db', { name: 'rp1' })).state).toBe('cut');
    },
  );

  it('that is cancelled leaves no point and no cut', async () => {
    const { world, store } = await World.makeManaged();
    const abort = new AbortController();
    world.onEngineStep = (step) => {
      if (step === 'durable-after') abort.abort();
    };

    await expect(store.capture('db', { signal: abort.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    expect([await listing(store), world.cuts]).toEqual([[], []]);
  });

  it('can be made through the machine too', async () => {
    const { store } = await World.makeManaged();

    expect((await (await store.virtualMachine('db')).capture({ name: 'rp1' })).reference).toBe('db/default/rp1');
  });

  it('of a machine without disks is refused', async () => {
    const { store } = await World.makeManaged();
    await store.createVirtualMachine({ name: 'empty', disks: {} });

    await expect(store.capture('empty')).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    expect((await store.virtualMachine('empty')).kind).toBe('managed');
  });
});

describe('a copy', () => {
  it('that fails tells who waits, stops those behind it, and is tried again when somebody waits', async () => {
    const { world, store } = await World.makeManaged();
    failCopies(world);
    const [one, two] = [await store.capture('db'), await store.capture('db')];
    await expect(Promise.all([one.copied(), two.copied()])).rejects.toMatchObject({ code: 'NO_SPACE' });
    expect((await store.restorePoints()).map(({ state }) => state)).toEqual(['cut', 'cut']);

    world.onEngineStep = () => undefined;

    expect((await two.copied()).state).toBe('copied');
    expect((await store.restorePoints()).map(({ state }) => state)).toEqual(['copied', 'copied']);
  });

  it('tells how far it is', async () => {
    const { world, store } = await World.makeManaged();
    const gate = held();
    let count = 0;
    world.onEngineStep = (step) => {
      if (step !== 'copy-disk') return undefined;
      count += 1;
      return count === 2 ? gate.promise : undefined;
    };
    const told: number[] = [];
    const point = await store.capture('db', { name: 'rp1' });
    const copied = point.copied({ onProgress: ({ doneBytes }) => told.push(doneBytes) });
    await expect.poll(() => point.completionPercent).toBe(50);
    expect((await store.restorePoint('db/rp1')).completionPercent).toBe(50);
    gate.release();
    await copied;
    expect(told.at(-1)).toBe(8192);
    expect(point.completionPercent).toBe(100);
  });

  it('goes on when the waiting for it is cancelled', async () => {
    const { world, store } = await World.makeManaged();
    const release = holdCopies(world);
    const point = await store.capture('db');
    const abort = new AbortController();
    const waiting = point.copied({ signal: abort.signal });
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
    release();
    expect((await point.copied()).state).toBe('copied');
  });

  it('stops when the store is closed, and goes on at the next open', async () => {
    const { world, store } = await World.makeManaged();
    const gate = held();
    world.onEngineStep = (step) => (step === 'copy-disk' ? gate.promise : undefined);
    const point = await store.capture('db', { name: 'rp1' });
    const waiting = point.copied();
    const closing = store.close();
    await expect(waiting).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    gate.release();
    await closing;
    await expect(point.copied()).rejects.toMatchObject({ code: 'STORE_CLOSED' });
    world.onEngineStep = () => undefined;

    const again = await world.open();

    expect(again.findings).toEqual([]);
    await expect.poll(() => listing(again)).toEqual(['db/default/rp1 copied']);
    expect(await first(again, 'db/rp1')).toBe(1);
  });

  it('of external disks has ended with the capture', async () => {
    const { store } = await World.make();
    const point = await store.capture('web1');

    expect(point.completionPercent).toBe(100);
    expect(await point.copied()).toEqual(point);
    expect(Object.keys(point)).not.toContain('completionPercent');
  });
});

describe('a point that is lost', () => {
  it('is neither read nor made a disk of', async () => {
    const { world, store } = await World.makeManaged();
    const point = await store.capture('db', { name: 'rp1' });
    await point.copied();
    await store.close();
    world.engine.loseManifest(storePath, point.id);
    const again = await world.open();
    await expect(again.read('db/rp1', { disk: 'os', offset: 0, length: 1 })).rejects.toMatchObject({
      code: 'RESTORE_POINT_LOST',
    });
    await expect(again.restoreToDisk('db/rp1', { disk: 'os', name: 'x' })).rejects.toMatchObject({
      code: 'RESTORE_POINT_LOST',
    });
    expect((await again.disks()).map(({ name }) => name)).toEqual(['db-data', 'db-os']);
  });
});

describe('deleting a point', () => {
  it('whose copy runs stops the copy, and takes manifest and cut with it', async () => {
    const { world, store } = await World.makeManaged();
    const gate = held();
    world.onEngineStep = (step) => (step === 'copy-disk' ? gate.promise : undefined);
    const [one, two] = [await store.capture('db', { name: 'rp1' }), await store.capture('db', { name: 'rp2' })];
    const waiting = one.copied();
    waiting.catch(() => undefined);

    const deleting = store.deletePoint('db/rp1');
    gate.release();
    await deleting;

    await expect(waiting).rejects.toMatchObject({ code: 'POINT_NOT_FOUND' });
    await expect(one.copied()).rejects.toMatchObject({ code: 'POINT_NOT_FOUND' });
    expect((await two.copied()).state).toBe('copied');
    expect(await listing(store)).toEqual(['db/default/rp2 copied']);
    expect(world.manifests).toEqual([two.id]);
    expect(world.cuts).toEqual([]);
  });

  it('just published takes its manifest back', async () => {
    const { world, store } = await World.makeManaged();
    const gate = held();
    world.onEngineStep = (step) => (step === 'copy-publish-after' ? gate.promise : undefined);
    const point = await store.capture('db', { name: 'rp1' });
    await expect.poll(() => world.manifests).toEqual([point.id]);
    const deleting = store.deletePoint('db/rp1');
    gate.release();
    await deleting;

    expect([world.manifests, world.cuts, await listing(store)]).toEqual([[], [], []]);
  });

  it('on which a disk stands copies it to its roots first, hidden', async () => {
    const { world, store } = await World.makeManaged();
    const release = holdCopies(world);
    const point = await store.capture('db', { name: 'rp1' });
    const clone = await store.cloneDisk('copy', 'db/rp1/os');
    const deleting = store.deletePoint('db/rp1');
    await expect.poll(() => listing(store)).toEqual(['db/default/rp1 deleting']);
    await expect(first(store, 'db/rp1')).rejects.toMatchObject({ code: 'POINT_BUSY' });
    release();
    await deleting;

    expect(world.steps).toContain('drop-after');
    expect(world.cuts).not.toContain(point.id);
    expect(world.manifests).toEqual([]);
    expect((await clone.read(0, 512))[0]).toBe(1);
  });

  it('that is copied needs nothing of its log, which may be damaged', async () => {
    const { world, store } = await World.makeManaged();
    await (await store.capture('db', { name: 'rp1' })).copied();
    await expect.poll(() => world.cuts).toEqual([]);
    world.onEngineStep = (step) => {
      if (step === 'drop-before') throw new StillpointError('LOG_DAMAGED', 'a record fails its checksum');
    };

    await store.deletePoint('db/rp1');

    expect(await listing(store)).toEqual([]);
  });

  it('that is held is refused, until the hold is taken away', async () => {
    const { world, store } = await World.makeManaged();
    await store.capture('db', { name: 'rp1' });
    const heldPoint = await store.holdPoint('db/rp1', 'audit 7');
    expect(heldPoint.hold).toEqual({ reason: 'audit 7', createdMs: world.clock.nowMs() });
    const refusal = { code: 'POINT_HELD', context: { point: 'db/default/rp1', reason: 'audit 7' } };
    await expect(store.deletePoint('db/rp1')).rejects.toMatchObject(refusal);

    const again = await world.restart();
    await expect(again.deletePoint('db/rp1')).rejects.toMatchObject(refusal);
    expect((await again.holdPoint('db/rp1', 'other')).hold?.reason).toBe('other');
    expect('hold' in (await again.unholdPoint('db/rp1'))).toBe(false);
    await again.unholdPoint('db/rp1');
    await again.deletePoint('db/rp1');
    expect(await listing(again)).toEqual([]);
  });

  it('that is held survives the loss of the catalog with its hold', async () => {
    const { world, store } = await World.makeManaged();
    await (await store.capture('db', { name: 'rp1' })).copied();
    await store.holdPoint('db/rp1', 'audit');
    await store.close();
    world.storage.records.clear();

    const again = await world.open();

    await expect(again.deletePoint('db/rp1')).rejects.toMatchObject({ code: 'POINT_HELD' });
  });
});

describe('restoring', () => {
  it('in place gives all disks of the machine back at once', async () => {
    const { world, store } = await World.makeManaged();
    await store.capture('db', { name: 'rp1' });
    await world.fill(store, 'db-os', 2);
    await (await store.disk('db-data')).grow(8192);

    const report = await store.restoreInPlace('db/rp1');

    expect(report).toMatchObject({ machine: 'db', disks: ['os', 'data'] });
    const [os, data] = [await store.disk('db-os'), await store.disk('db-data')];
    expect([(await os.read(0, 512))[0], data.info.sizeBytes]).toEqual([1, 4096]);
  });

  it('in place is refused when the disks are not exactly those of the point, and takes those named', async () => {
    const { world, store } = await World.makeManaged();
    await store.capture('db', { name: 'rp1' });
    await world.fill(store, 'db-os', 2);
    await (await store.disk('db-data')).detach();

    await expect(store.restoreInPlace('db/rp1')).rejects.toMatchObject({ code: 'DISKS_DIFFER' });
    await expect(store.restoreInPlace('db/rp1', { disks: ['data'] })).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' });
    expect((await (await store.disk('db-os')).read(0, 512))[0]).toBe(2);
    await store.restoreInPlace('db/rp1', { disks: ['OS'] });
    expect((await (await store.disk('db-os')).read(0, 512))[0]).toBe(1);
  });

  it('in place of a point of external disks is refused', async () => {
    const { store } = await World.make();
    await store.capture('web1', { name: 'rp1' });

    await expect(store.restoreInPlace('web1/rp1')).rejects.toMatchObject({ code: 'MACHINE_NOT_MANAGED' });
  });

  it('to a machine makes one with the kept configuration and all disks, also of external disks', async () => {
    const { store } = await World.make();
    await store.capture('web1', { name: 'rp1' });

    const { machine } = await store.restoreToMachine('web1/rp1', { name: 'web2' });

    expect(machine).toMatchObject({
      name: 'web2',
      kind: 'managed',
      configuration: { vcpus: 2 },
      disks: [
        { role: 'os', name: 'web2-os', kind: 'managed', sizeBytes: 4096 },
        { role: 'data', name: 'web2-data' },
      ],
    });
    expect((await (await store.disk('web2-os')).read(0, 512))[0]).toBe(1);
    await (await store.capture('web2', { name: 'rp1' })).copied();
    expect(await first(store, 'web2/rp1')).toBe(1);
  });

  it('to a machine that cannot be made leaves nothing', async () => {
    const { world, store } = await World.make();
    await store.capture('web1', { name: 'rp1' });
    await store.createDisk({ name: 'web2-data', sizeBytes: 512 });
    await expect(store.restoreToMachine('web1/rp1', { name: 'web2' })).rejects.toMatchObject({ code: 'DISK_EXISTS' });
    world.onEngineStep = (step) => {
      if (step === 'attach-after') throw new StillpointError('IO_FAILED', 'broken');
    };
    await expect(store.restoreToMachine('web1/rp1', { name: 'web3' })).rejects.toMatchObject({ code: 'IO_FAILED' });

    expect((await store.disks()).map(({ name }) => name)).toEqual(['web2-data']);
    expect((await store.virtualMachines()).map(({ name }) => name)).toEqual(['web1']);
    await expect(store.virtualMachine('web3')).rejects.toMatchObject({ code: 'MACHINE_NOT_FOUND' });
  });

  it('a moment between points names the record and the time, and leaves no hidden point', async () => {
    const { world, store } = await World.makeManaged();
    const os = await store.disk('db-os');
    const lsn = await os.write(0, new Uint8Array(512).fill(5));
    const atMs = world.clock.nowMs();
    world.clock.advance(1000);
    await world.fill(store, 'db-os', 6);

    const byLsn = await store.restoreToDisk('db', { disk: 'os', name: 'then', at: { lsn } });
    const byTime = await store.restoreToMachine('db', { name: 'db2', at: { timeMs: atMs + 999 } });

    expect(byLsn).toMatchObject({ disk: { name: 'then', machine: null }, at: { lsn, timeMs: atMs } });
    expect(byTime.at).toEqual({ lsn, timeMs: atMs });
    for (const name of ['then', 'db2-os']) {
      const bytes = await (await store.disk(name)).read(0, 1024);
      expect([bytes[0], bytes[600]], name).toEqual([5, 1]);
    }
    const report = await store.restoreInPlace('db', { at: { lsn } });
    expect(report).toMatchObject({ disks: ['os', 'data'], at: { lsn } });
    expect((await os.read(0, 512))[0]).toBe(5);
    await expect.poll(() => world.cuts).toEqual([]);
    expect(await listing(store)).toEqual([]);
    await expect(store.restoreToDisk('db', { disk: 'os', name: 'x', at: { lsn: '99999' } })).rejects.toMatchObject({
      code: 'MOMENT_NOT_KEPT',
    });
    await expect(store.restoreToDisk('db', { disk: 'os', name: 'x', at: { timeMs: 0 } })).rejects.toMatchObject({
      code: 'MOMENT_NOT_KEPT',
    });
    expect((await store.disks()).map(({ name }) => name)).not.toContain('x');
  });

  it('a moment that stands on points whose copies run waits for them', async () => {
    const { world, store } = await World.makeManaged();
    const lsn = await (await store.disk('db-os')).write(0, new Uint8Array(512).fill(5));
    const refusedAt = async (step: 'disk-create-before' | 'reset-before', restore: () => Promise<unknown>) => {
      const gate = held();
      let refusals = 0;
      world.onEngineStep = (now) => {
        if (now === 'copy-before') return gate.promise;
        if (now !== step || refusals > 0) return undefined;
        refusals += 1;
        setImmediate(() => gate.release());
        throw new StillpointError('STORE_BUSY', 'an older restore point of the machine waits for its copy');
      };
      await store.capture('db');
      await restore();
      world.onEngineStep = () => undefined;
      return refusals;
    };

    expect(
      await refusedAt('disk-create-before', () => store.restoreToDisk('db', { disk: 'os', name: 'x', at: { lsn } })),
    ).toBe(1);
    expect(await refusedAt('reset-before', () => store.restoreInPlace('db', { at: { lsn } }))).toBe(1);
    expect((await (await store.disk('x')).read(0, 512))[0]).toBe(5);
  });
});

describe('disks of machines', () => {
  it('are attached and detached, and keep their content', async () => {
    const { store } = await World.makeManaged();
    const log = await store.createDisk({ name: 'log', sizeBytes: 1024, sectorBytes: 512 });
    await log.write(512, new Uint8Array(512).fill(9));

    expect(await log.attach('db')).toMatchObject({ machine: 'db', role: 'log', generation: 2 });
    await expect(log.attach('db')).rejects.toMatchObject({ code: 'DISK_ATTACHED' });
    await expect(log.delete()).rejects.toMatchObject({ code: 'DISK_ATTACHED' });
    expect((await store.virtualMachine('db')).disks.map(({ role }) => role)).toEqual(['os', 'data', 'log']);
    expect((await log.read(512, 512))[0]).toBe(9);
    expect(await log.detach()).toMatchObject({ machine: null, generation: 3 });
    await expect(log.detach()).rejects.toMatchObject({ code: 'DISK_DETACHED' });
    await expect(log.attach('db', 'OS')).rejects.toMatchObject({ code: 'DISK_EXISTS' });
    await expect(log.attach('nobody')).rejects.toMatchObject({ code: 'MACHINE_NOT_FOUND' });
    expect((await log.read(512, 512))[0]).toBe(9);
    await log.delete();
    await expect(log.read(0, 512)).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' });
    await expect(store.disk('log')).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' });
  });

  it('are detached also when the last copy ends while the engine still refuses because of it', async () => {
    const { world, store } = await World.makeManaged();
    const gate = held();
    world.onEngineStep = (step) => (step === 'copy-before' ? gate.promise : undefined);
    const point = await store.capture('db');
    let refusals = 0;
    world.onEngineStep = async (step) => {
      if (step !== 'detach-before' || refusals > 0) return;
      refusals += 1;
      gate.release();
      await point.copied();
      await new Promise(setImmediate); // nothing runs any more
      throw new StillpointError('STORE_BUSY', 'points of the machine wait for their copies');
    };

    await (await store.disk('db-data')).detach();

    expect(refusals).toBe(1);
    expect((await store.disk('db-data')).info.machine).toBeNull();
    world.onEngineStep = (step) => {
      if (step === 'detach-before') throw new StillpointError('STORE_BUSY', 'for whatever else');
    };
    await expect((await store.disk('db-os')).detach()).rejects.toMatchObject({ code: 'STORE_BUSY' });
  });

  it('stay, detached, when their machine is deleted', async () => {
    const { world, store } = await World.makeManaged();
    await store.capture('db', { name: 'rp1' });
    await expect(store.deleteVirtualMachine('db')).rejects.toMatchObject({ code: 'MACHINE_NOT_EMPTY' });
    await store.deletePoint('db/rp1');
    await store.deleteVirtualMachine('db');

    expect(await store.disks()).toMatchObject([
      { name: 'db-data', machine: null },
      { name: 'db-os', machine: null },
    ]);
    const again = await world.restart();
    expect(again.findings).toEqual([]);
    expect(await again.virtualMachines()).toEqual([]);
    await again.createVirtualMachine({ name: 'db', disks: { os: 'db-os' } });
  });

  it('can be imported with their machine, all or none', async () => {
    const { world, store } = await World.make();
    const machine = await store.createVirtualMachine({
      name: 'db',
      disks: [
        { role: 'os', import: '/images/os.raw' },
        { role: 'data', import: '/images/data.raw', sectorBytes: 4096 },
      ],
    });
    expect(machine.disks).toMatchObject([
      { role: 'os', name: 'db-os', kind: 'managed', sizeBytes: 4096, sectorBytes: 512 },
      { role: 'data', name: 'db-data', sectorBytes: 4096 },
    ]);

    await expect(
      store.createVirtualMachine({
        name: 'db2',
        disks: [
          { role: 'os', import: '/images/os.raw' },
          { role: 'data', import: '/images/gone.raw' },
        ],
      }),
    ).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    expect((await store.disks()).map(({ name }) => name)).toEqual(['db-data', 'db-os']);
    expect((await (await world.restart()).disks()).map(({ name }) => name)).toEqual(['db-data', 'db-os']);
  });

  it.each([
    [{ name: 'DB', disks: {} }, 'MACHINE_EXISTS'],
    [{ name: 'x y', disks: {} }, 'NAME_INVALID'],
    [{ name: 'a', disks: { os: 'db-os' } }, 'DISK_ATTACHED'],
    [{ name: 'a', disks: { os: 'gone' } }, 'DISK_NOT_FOUND'],
    [{ name: 'a', disks: { 'o s': 'spare' } }, 'NAME_INVALID'],
    [{ name: 'a', disks: { os: 'spare', OS: 'spare' } }, 'DISK_BUSY'],
    [
      {
        name: 'a',
        disks: [
          { role: 'os', disk: 'spare' },
          { role: 'OS', import: '/x' },
        ],
      },
      'DISK_EXISTS',
    ],
  ])('%j is refused with %s and leaves the store as it was', async (request, code) => {
    const { store } = await World.makeManaged();
    await store.createDisk({ name: 'spare', sizeBytes: 512 });
    const before = [await store.virtualMachines(), await store.disks()];

    await expect(store.createVirtualMachine(request)).rejects.toMatchObject({ code });
    expect([await store.virtualMachines(), await store.disks()]).toEqual(before);
  });

  it('that are managed cannot be changed like external ones, the configuration can', async () => {
    const { store } = await World.makeManaged();
    await expect(store.updateVirtualMachine('db', { addDisks: [{ role: 'x', external: '/x' }] })).rejects.toMatchObject(
      { code: 'ARGUMENT_INVALID' },
    );
    await expect(store.updateVirtualMachine('db', { removeDisks: ['os'] })).rejects.toMatchObject({
      code: 'ARGUMENT_INVALID',
    });
    expect((await store.updateVirtualMachine('db', { configuration: 7 })).configuration).toBe(7);
  });

  it('that are external cannot be attached', async () => {
    const { store } = await World.make();
    await expect(store.disk('web1-os')).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' });
    const disk = await store.createDisk({ name: 'x', sizeBytes: 512 });
    await expect(disk.attach('web1')).rejects.toMatchObject({ code: 'MACHINE_NOT_MANAGED' });
    await expect(store.createDisk({ name: 'WEB1-os', sizeBytes: 512 })).rejects.toMatchObject({ code: 'DISK_EXISTS' });
  });

  it('can be looked at without the lock, and have no live data there', async () => {
    const { world, store } = await World.makeManaged();
    await (await store.capture('db', { name: 'rp1' })).copied();

    const look = await world.open(true);

    expect((await look.disks()).map(({ name, machine }) => `${name} ${String(machine)}`)).toEqual([
      'db-data db',
      'db-os db',
    ]);
    expect(await first(look, 'db/rp1')).toBe(1);
    const disk = await look.disk('db-os');
    await expect(disk.read(0, 512)).rejects.toMatchObject({ code: 'STORE_READ_ONLY' });
    await expect(disk.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'STORE_READ_ONLY' });
    await expect(disk.detach()).rejects.toMatchObject({ code: 'STORE_READ_ONLY' });
    await expect(look.createDisk({ name: 'x', sizeBytes: 512 })).rejects.toMatchObject({ code: 'STORE_READ_ONLY' });
    await expect(look.holdPoint('db/rp1', 'x')).rejects.toMatchObject({ code: 'STORE_READ_ONLY' });
    expect(storePath).toBe('/stores/one');
  });
});
