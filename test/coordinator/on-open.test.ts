/**
 * Every row of the table of DESIGN section 3 that a scan can reach: what is decided, and what opening a store then does.
 */

import { describe, expect, it } from 'vitest';

import { onOpen } from '../../src/coordinator/on-open.js';
import type { Store } from '../../src/store/handles.js';
import { listing, storePath, World } from '../store/world.js';

describe('the decision', () => {
  it.each([
    ['creating', 'absent', 'remove-record'],
    ['creating', 'damaged', 'mark-damaged'],
    ['creating', 'present', 'mark-copied'],
    ['cut', 'absent', 'mark-lost'],
    ['cut', 'damaged', 'mark-damaged'],
    ['cut', 'present', 'mark-copied'],
    ['copied', 'absent', 'mark-lost'],
    ['copied', 'damaged', 'mark-damaged'],
    ['copied', 'present', 'keep'],
    ['failed', 'absent', 'keep-and-report'],
    ['failed', 'damaged', 'keep-and-report'],
    ['failed', 'present', 'mark-copied'],
    ['deleting', 'absent', 'finish-delete'],
    ['deleting', 'damaged', 'finish-delete'],
    ['deleting', 'present', 'finish-delete'],
  ] as const)('for a point that is %s, its manifest %s, is to %s', (state, manifest, action) => {
    expect(onOpen(state, 'absent', manifest, 'sound')).toBe(action);
    expect(onOpen(state, 'absent', manifest, 'rebuilt')).toBe(action);
  });

  it.each([
    ['sound', 'absent', 'keep'],
    ['sound', 'damaged', 'keep-and-report'],
    ['sound', 'present', 'quarantine'],
    ['rebuilt', 'absent', 'keep'],
    ['rebuilt', 'damaged', 'keep-and-report'],
    ['rebuilt', 'present', 'adopt'],
  ] as const)('for a manifest without a record in a %s catalog, %s, is to %s', (origin, manifest, action) => {
    expect(onOpen(null, 'absent', manifest, origin)).toBe(action);
  });
});

/** Stops the process at a named step of the engine while a call runs. */
async function stopAt(world: World, step: string, call: () => Promise<unknown>): Promise<Store> {
  world.onEngineStep = (name) => {
    if (name === step) world.end();
  };
  await expect(call()).rejects.toThrow();
  world.onEngineStep = () => undefined;
  return world.restart();
}

const codes = (store: Store): string[] => store.findings.map(({ code }) => code);

describe('opening a store', () => {
  it('removes a point that was being created and has no manifest, and reports it', async () => {
    const { world, store } = await World.make();

    const again = await stopAt(world, 'scan-after', () => store.capture('web1', { name: 'rp1' }));

    expect(codes(again)).toEqual(['WORK_INTERRUPTED']);
    expect(await listing(again)).toEqual([]);
    expect((await again.status()).work).toEqual([]);
    expect((await again.capture('web1', { name: 'rp1' })).state).toBe('copied');
  });

  it('keeps a point that was being created and has a manifest: it is whole', async () => {
    const { world, store } = await World.make();

    const again = await stopAt(world, 'publish-after', () => store.capture('web1', { name: 'rp1' }));

    expect(codes(again)).toEqual(['WORK_INTERRUPTED']);
    expect(await listing(again)).toEqual(['web1/default/rp1 copied']);
    expect(await again.read('web1/rp1', { disk: 'os', offset: 0, length: 1 })).toEqual(new Uint8Array([1]));
    expect((await again.restorePoint('web1/rp1')).captured.bytesRead).toBe(8192);
  });

  it('marks a copied point without a manifest as lost, loudly and each time, and lets it be deleted', async () => {
    const { world, store } = await World.make();
    const point = await store.capture('web1', { name: 'rp1' });
    await store.close();
    world.engine.loseManifest(storePath, point.id);

    const again = await world.open();
    expect(again.findings).toMatchObject([
      {
        code: 'RESTORE_POINT_LOST',
        file: `home/manifests/${point.id}.manifest`,
        hits: [
          { point: 'web1/default/rp1', disk: 'os', ranges: [{ offset: 0, length: 4096 }] },
          { point: 'web1/default/rp1', disk: 'data', ranges: [{ offset: 0, length: 4096 }] },
        ],
      },
    ]);
    expect(await again.restorePoint('web1/rp1')).toMatchObject({
      state: 'failed',
      failure: { code: 'RESTORE_POINT_LOST' },
    });
    await expect(again.read('web1/rp1', { disk: 'os', offset: 0, length: 1 })).rejects.toMatchObject({
      code: 'RESTORE_POINT_LOST',
    });
    await again.close();

    const third = await world.open();
    expect(codes(third)).toEqual(['RESTORE_POINT_LOST']);
    await third.deletePoint('web1/rp1');
    await third.close();
    expect((await world.open()).findings).toEqual([]);
  });

  it('takes a lost point whose manifest came back for what it is', async () => {
    const { world, store } = await World.make();
    const point = await store.capture('web1', { name: 'rp1' });
    await store.close();
    const bringBack = world.engine.loseManifest(storePath, point.id);
    await (await world.open()).close();
    bringBack();

    const again = await world.open();

    expect(codes(again)).toEqual(['RESTORE_POINT_RETURNED']);
    expect(await again.restorePoint('web1/rp1')).toEqual(point);
  });

  it('marks a point with a damaged manifest as failed, says it once, and lets it be deleted', async () => {
    const { world, store } = await World.make();
    const point = await store.capture('web1', { name: 'rp1' });
    await store.close();
    world.engine.damageManifest(storePath, point.id);

    const again = await world.open();

    expect(codes(again)).toEqual(['MANIFEST_DAMAGED']);
    expect(again.findings[0]?.hits).toHaveLength(2);
    await expect(again.restore('web1/rp1', { disk: 'os', to: '/nowhere' })).rejects.toMatchObject({
      code: 'MANIFEST_DAMAGED',
    });
    await again.deletePoint('web1/rp1');
    expect(await listing(again)).toEqual([]);
  });

  it.each(['remove-before', 'remove-after'])('finishes a deletion that ended at %s', async (step) => {
    const { world, store } = await World.make();
    await store.capture('web1', { name: 'rp1' });

    const again = await stopAt(world, step, () => store.deletePoint('web1/rp1'));

    expect(codes(again)).toEqual(['WORK_INTERRUPTED']);
    expect(await listing(again)).toEqual([]);
    expect(world.manifests).toEqual([]);
  });

  it('puts a manifest that a sound catalog does not know into quarantine', async () => {
    const { world, store } = await World.make();
    const point = await store.capture('web1', { name: 'rp1' });
    const bringBack = world.engine.loseManifest(storePath, point.id);
    await store.deletePoint('web1/rp1');
    await store.close();
    bringBack();

    const again = await world.open();

    expect(codes(again)).toEqual(['MANIFEST_UNKNOWN']);
    expect(world.engine.quarantinedIds(storePath)).toEqual([point.id]);
    expect(await listing(again)).toEqual([]);
    await again.close();
    expect((await world.open()).findings).toEqual([]);
  });

  it('leaves a damaged manifest that nobody knows where it is, and says so each time', async () => {
    const { world, store } = await World.make();
    const point = await store.capture('web1', { name: 'rp1' });
    const bringBack = world.engine.loseManifest(storePath, point.id);
    await store.deletePoint('web1/rp1');
    await store.close();
    bringBack();
    world.engine.damageManifest(storePath, point.id);

    for (let round = 0; round < 2; round += 1) {
      const again = await world.open();
      expect(codes(again)).toEqual(['MANIFEST_DAMAGED']);
      await again.close();
    }
  });

  it('adopts all manifests into a rebuilt catalog, and keeps them at the open after that', async () => {
    const { world, store } = await World.make();
    const points = [await store.capture('web1', { name: 'rp1' }), await store.capture('web1', { name: 'rp2' })];
    const machines = await store.virtualMachines();
    await store.close();
    world.storage.records.clear();

    const again = await world.open();

    expect(codes(again)).toEqual(['CATALOG_DAMAGED']);
    expect(again.findings[0]?.message).toContain('2 restore points adopted');
    expect(await again.restorePoints()).toEqual(points);
    expect(await again.virtualMachines()).toEqual(machines);
    await again.close();
    const third = await world.open();
    expect(third.findings).toEqual([]);
    expect(await third.restorePoints()).toEqual(points);
    expect((await third.capture('web1')).sequence).toBe(3);
  });

  it('rebuilds from manifests alone when the dump is gone too, and says what is missing', async () => {
    const { world, store } = await World.make();
    const points = [await store.capture('web1', { name: 'rp1' })];
    await store.createVirtualMachine({ name: 'idle', disks: [{ role: 'os', external: '/images/idle.raw' }] });
    await store.close();
    world.storage.records.clear();
    world.storage.removeFile('catalog.dump');

    const again = await world.open();

    expect(again.findings[0]?.message).toContain('the dump is missing');
    expect(await again.restorePoints()).toEqual(points);
    expect((await again.virtualMachines()).map(({ name }) => name)).toEqual(['web1']);
    expect((await again.capture('web1')).state).toBe('copied');
  });
});
