/** Captures and deletions that run to their end, fail, are cancelled, or meet others. */

import { describe, expect, it } from 'vitest';

import { pointsPerMachineMax } from '../../src/coordinator/limits.js';
import { StillpointError } from '../../src/store/errors.js';
import type { Store } from '../../src/store/handles.js';
import { held, listing, storePath, World } from '../store/world.js';

const parentsByRole = async (world: World, store: Store): Promise<Record<string, string | null>> => {
  const { disks } = await store.virtualMachine('web1');
  const parents = world.engine.parentsOfLastScan(storePath);
  const names = new Map((await store.restorePoints()).map((point) => [point.id as string, point.name]));
  return Object.fromEntries(
    disks.flatMap(({ id, role }) => {
      const parent = parents.get(id);
      return parent === undefined ? [] : [[role, parent === null ? null : (names.get(parent) ?? 'gone')]];
    }),
  );
};

describe('a capture', () => {
  it('makes a point with everything a caller may want to know', async () => {
    const { store } = await World.make();

    const point = await store.capture('WEB1', { name: 'First', collection: 'Daily' });

    expect(point).toMatchObject({
      name: 'First',
      machine: 'web1',
      collection: 'Daily',
      reference: 'web1/Daily/First',
      sequence: 1,
      createdMs: Date.UTC(2026, 10, 23, 4, 28, 14),
      state: 'copied',
      consistency: { requested: null, reached: 'crashConsistent', writers: [] },
      configuration: { vcpus: 2 },
      disks: [
        {
          role: 'os',
          name: 'web1-os',
          kind: 'external',
          source: '/images/os.raw',
          sizeBytes: 4096,
          sectorBytes: 512,
          excluded: false,
        },
        { role: 'data', sizeBytes: 4096, excluded: false },
      ],
      captured: { bytesRead: 8192, bytesNew: 8192, bytesStored: 8192 },
    });
    expect('failure' in point).toBe(false);
    expect(await store.restorePoint('web1/first')).toEqual(point);
  });

  it('is called by its UTC time when it has no name, with a number where that is taken', async () => {
    const { world, store } = await World.make();
    const names = [];
    for (let index = 0; index < 3; index += 1) names.push((await store.capture('web1')).name);
    world.clock.advance(1000);
    names.push((await store.capture('web1')).name);
    names.push((await store.capture('web1', { collection: 'daily' })).name);

    expect(names).toEqual([
      '2026-11-23T04-28-14Z',
      '2026-11-23T04-28-14Z-2',
      '2026-11-23T04-28-14Z-3',
      '2026-11-23T04-28-15Z',
      '2026-11-23T04-28-15Z',
    ]);
  });

  it('keeps the configuration as it was, whatever the machine becomes', async () => {
    const { store } = await World.make();
    await store.capture('web1', { name: 'before' });
    await store.updateVirtualMachine('web1', { configuration: { vcpus: 4 } });
    await store.capture('web1', { name: 'after' });

    expect((await store.restorePoint('web1/before')).configuration).toEqual({ vcpus: 2 });
    expect((await store.restorePoint('web1/after')).configuration).toEqual({ vcpus: 4 });
  });

  it('stores nothing of an excluded disk, and a disk that returns goes on from its own last point', async () => {
    const { world, store } = await World.make();
    await store.capture('web1', { name: 'rp1' });
    expect(await parentsByRole(world, store)).toEqual({ os: null, data: null });

    const second = await store.capture('web1', { name: 'rp2', exclude: ['DATA'], collection: 'daily' });
    expect(await parentsByRole(world, store)).toEqual({ os: 'rp1' });
    expect(second.disks.map(({ role, excluded, sizeBytes }) => [role, excluded, sizeBytes])).toEqual([
      ['os', false, 4096],
      ['data', true, 0],
    ]);

    await store.capture('web1', { name: 'rp3' });
    expect(await parentsByRole(world, store)).toEqual({ os: 'rp2', data: 'rp1' });

    await store.deletePoint('web1/rp3');
    await store.deletePoint('web1/rp1');
    await store.capture('web1', { name: 'rp4' });
    expect(await parentsByRole(world, store)).toEqual({ os: 'rp2', data: null });
  });

  it('chooses another parent when the one it chose is deleted before the scan', async () => {
    const { world, store } = await World.make();
    await store.capture('web1', { name: 'rp1' });
    await store.capture('web1', { name: 'rp2' });
    let isFirst = true;
    world.onEngineStep = async (step) => {
      if (step !== 'scan-before' || !isFirst) return;
      isFirst = false;
      await store.deletePoint('web1/rp2');
    };

    await store.capture('web1', { name: 'rp3' });

    expect(await parentsByRole(world, store)).toEqual({ os: 'rp1', data: 'rp1' });
  });

  it('is crash-consistent when the mode is left out or asked for, and refused when more is asked for', async () => {
    const { store } = await World.make();

    expect((await store.capture('web1', { consistency: 'crashConsistent' })).consistency).toEqual({
      requested: 'crashConsistent',
      reached: 'crashConsistent',
      writers: [],
    });
    for (const consistency of ['applicationConsistent', 'fileSystemConsistent'] as const) {
      await expect(store.capture('web1', { consistency })).rejects.toMatchObject({ code: 'NO_WRITERS' });
    }
    expect(await store.restorePoints()).toHaveLength(1);
  });

  it.each([
    [{ name: 'taken' }, 'POINT_EXISTS'],
    [{ name: 'TAKEN' }, 'POINT_EXISTS'],
    [{ name: '-bad' }, 'NAME_INVALID'],
    [{ collection: 'a/b' }, 'NAME_INVALID'],
    [{ exclude: ['swap'] }, 'DISK_NOT_FOUND'],
    [{ exclude: ['os', 'data'] }, 'ARGUMENT_INVALID'],
  ])('with %j is refused with %s and leaves the store as it was', async (options, code) => {
    const { store } = await World.make();
    await store.capture('web1', { name: 'taken' });

    await expect(store.capture('web1', options)).rejects.toMatchObject({ code });
    expect(await listing(store)).toEqual(['web1/default/taken copied']);
    expect((await store.status()).work).toEqual([]);
  });

  it('of a machine that is not there is refused', async () => {
    const { store } = await World.make();

    await expect(store.capture('web2')).rejects.toMatchObject({ code: 'MACHINE_NOT_FOUND' });
  });

  it('whose image is missing leaves nothing, and the next one works', async () => {
    const { world, store } = await World.make();
    world.engine.removeSource('/images/data.raw');
    await expect(store.capture('web1', { name: 'rp1' })).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    expect((await store.status()).work).toEqual([]);
    world.setDisk('data', 1);

    expect((await store.capture('web1', { name: 'rp1' })).reference).toBe('web1/default/rp1');
  });

  it.each(['publish-before', 'publish-after'])('whose publishing fails at %s leaves nothing', async (failing) => {
    const { world, store } = await World.make();
    world.onEngineStep = (step) => {
      if (step === failing) throw new StillpointError('IO_FAILED', 'the device failed');
    };
    await expect(store.capture('web1', { name: 'rp1' })).rejects.toMatchObject({ code: 'IO_FAILED' });
    world.onEngineStep = () => undefined;

    expect(await listing(store)).toEqual([]);
    expect(world.manifests).toEqual([]);
    await store.close();
    expect((await world.open()).findings).toEqual([]);
  });

  it('whose publishing fails and cannot be undone is settled by the next open', async () => {
    const { world, store } = await World.make();
    world.onEngineStep = (step) => {
      if (step === 'publish-after' || step === 'remove-before')
        throw new StillpointError('IO_FAILED', 'the device failed');
    };
    await expect(store.capture('web1', { name: 'rp1' })).rejects.toMatchObject({ code: 'IO_FAILED' });
    expect((await store.status()).work).toMatchObject([{ state: 'creating' }]);
    world.onEngineStep = () => undefined;
    await store.close();

    const again = await world.open();

    expect(again.findings.map(({ code }) => code)).toEqual(['WORK_INTERRUPTED']);
    expect(await listing(again)).toEqual(['web1/default/rp1 copied']);
  });

  it.each(['scan-before', 'scan-after'])('that is cancelled at %s leaves nothing', async (when) => {
    const { world, store } = await World.make();
    const stop = new AbortController();
    world.onEngineStep = (step) => {
      if (step === when) stop.abort('enough');
    };

    await expect(store.capture('web1', { signal: stop.signal })).rejects.toMatchObject({
      code: 'CANCELLED',
      cause: 'enough',
    });
    expect(await listing(store)).toEqual([]);
    expect(world.manifests).toEqual([]);
  });

  it('that is cancelled once it is published has come too late', async () => {
    const { world, store } = await World.make();
    const stop = new AbortController();
    world.onEngineStep = (step) => {
      if (step === 'publish-after') stop.abort();
    };

    expect((await store.capture('web1', { signal: stop.signal })).state).toBe('copied');
  });

  it('of a machine that is being captured is refused at once; another machine goes side by side', async () => {
    const { world, store } = await World.make();
    await store.createVirtualMachine({ name: 'web2', disks: [{ role: 'os', external: '/images/os.raw' }] });
    const pause = held();
    const begun = held();
    world.onEngineStep = (step) => {
      if (step !== 'scan-before') return undefined;
      begun.release();
      return pause.promise;
    };
    const first = store.capture('web1', { name: 'rp1' });
    await begun.promise;
    await expect(store.capture('web1')).rejects.toMatchObject({ code: 'CAPTURE_IN_PROGRESS' });
    await expect(store.deletePoint('web1/rp1')).rejects.toMatchObject({ code: 'POINT_BUSY' });
    await expect(store.restorePoint('web1/rp1')).rejects.toMatchObject({ code: 'POINT_NOT_FOUND' });
    await expect(store.deleteVirtualMachine('web1')).rejects.toMatchObject({ code: 'MACHINE_NOT_EMPTY' });
    expect((await store.status()).work).toEqual([{ machine: 'web1', point: 'web1/default/rp1', state: 'creating' }]);
    const second = store.capture('web2');
    pause.release();

    await Promise.all([first, second]);
    expect((await store.capture('web1')).sequence).toBe(2);
  });

  it('runs beside a collect, while a second collect waits for the first', async () => {
    const { world, store } = await World.make();
    const pause = held();
    const begun = held();
    const order: string[] = [];
    world.onEngineStep = (step) => {
      order.push(step);
      if (step !== 'collect') return undefined;
      begun.release();
      return pause.promise;
    };
    const collect = store.collect();
    await begun.promise;
    const again = store.collect();
    await store.capture('web1');
    const stop = new AbortController();
    const cancelled = store.collect({ signal: stop.signal });
    stop.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
    pause.release();
    await Promise.all([collect, again]);

    expect(order.filter((step) => !step.endsWith('before'))).toEqual([
      'collect',
      'scan-after',
      'publish-after',
      'collect',
    ]);
  });

  it('beyond the limit of points is refused until one is deleted, and lists them fast', async () => {
    const { world, store } = await World.make();
    world.setDisk('os', 1, 512);
    world.setDisk('data', 1, 512);
    for (let index = 0; index < pointsPerMachineMax; index += 1) await store.capture('web1');
    await expect(store.capture('web1')).rejects.toMatchObject({
      code: 'POINT_LIMIT_REACHED',
      context: { points: 500, max: 500 },
    });

    const startedMs = performance.now();
    const points = await store.restorePoints('web1');
    expect(performance.now() - startedMs).toBeLessThan(50);
    expect(points.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 500 }, (_, index) => index + 1));

    await store.deletePoint(points[250]?.reference ?? '');
    expect((await store.capture('web1')).sequence).toBe(501);
  });

  it('never gives a sequence twice, also after the newest point was deleted and the store was opened again', async () => {
    const { world, store } = await World.make();
    await store.capture('web1', { name: 'rp1' });
    await store.capture('web1', { name: 'rp2' });
    await store.deletePoint('web1/rp2');
    await store.close();

    expect((await (await world.open()).capture('web1')).sequence).toBe(3);
  });
});

describe('a deletion', () => {
  it('removes the manifest and the record, and what is read while it runs is refused', async () => {
    const { world, store } = await World.make();
    await store.capture('web1', { name: 'rp1' });
    const pause = held();
    const begun = held();
    world.onEngineStep = (step) => {
      if (step !== 'remove-before') return undefined;
      begun.release();
      return pause.promise;
    };
    const deletion = store.deletePoint('web1/rp1');
    await begun.promise;
    expect(await listing(store)).toEqual(['web1/default/rp1 deleting']);
    await expect(store.read('web1/rp1', { disk: 'os', offset: 0, length: 1 })).rejects.toMatchObject({
      code: 'POINT_BUSY',
    });
    await expect(store.deletePoint('web1/rp1')).rejects.toMatchObject({ code: 'POINT_BUSY' });
    pause.release();
    await deletion;

    expect(await listing(store)).toEqual([]);
    expect(world.manifests).toEqual([]);
  });

  it('that failed on the way can be called again', async () => {
    const { world, store } = await World.make();
    await store.capture('web1', { name: 'rp1' });
    world.onEngineStep = (step) => {
      if (step === 'remove-before') throw new StillpointError('IO_FAILED', 'the device failed');
    };
    await expect(store.deletePoint('web1/rp1')).rejects.toMatchObject({ code: 'IO_FAILED' });
    expect(await listing(store)).toEqual(['web1/default/rp1 deleting']);
    world.onEngineStep = () => undefined;

    await store.deletePoint('web1/rp1');
    expect(await listing(store)).toEqual([]);
  });

  it('frees the name at once', async () => {
    const { store } = await World.make();
    await store.capture('web1', { name: 'rp1' });
    await store.deletePoint('web1/rp1');

    expect((await store.capture('web1', { name: 'rp1' })).sequence).toBe(2);
  });
});
