/** The rows of the table of DESIGN section 3 that a write log can reach: what is decided, and what opening then does. */

import { describe, expect, it } from 'vitest';

import { cutAfter, onOpen } from '../../src/coordinator/on-open.js';
import { StillpointError } from '../../src/store/errors.js';
import type { Store } from '../../src/store/handles.js';
import { listing, storePath, World } from '../store/world.js';

describe('the decision about a point with a cut', () => {
  it.each([
    ['creating', 'absent', 'mark-interrupted', 'drop'],
    ['creating', 'damaged', 'mark-damaged', 'drop'],
    ['creating', 'present', 'mark-copied', 'release'],
    ['cut', 'absent', 'resume', 'keep'],
    ['cut', 'damaged', 'mark-damaged', 'drop'],
    ['cut', 'present', 'mark-copied', 'release'],
    ['copied', 'absent', 'copy-again', 'keep'],
    ['copied', 'damaged', 'mark-damaged', 'drop'],
    ['copied', 'present', 'keep', 'release'],
    ['failed', 'absent', 'keep-and-report', 'drop'],
    ['failed', 'damaged', 'keep-and-report', 'drop'],
    ['failed', 'present', 'mark-copied', 'release'],
    ['deleting', 'absent', 'finish-delete', 'keep'],
    ['deleting', 'damaged', 'finish-delete', 'keep'],
    ['deleting', 'present', 'finish-delete', 'keep'],
  ] as const)('that is %s, its manifest %s, is to %s and to %s the cut', (state, manifest, action, cut) => {
    for (const origin of ['sound', 'rebuilt'] as const) {
      expect(onOpen(state, 'present', manifest, origin)).toBe(action);
      expect(cutAfter(state, action)).toBe(cut);
    }
  });

  it.each([
    ['sound', 'absent', 'keep', 'drop'],
    ['sound', 'damaged', 'keep-and-report', 'drop'],
    ['sound', 'present', 'quarantine', 'drop'],
    ['rebuilt', 'absent', 'adopt-cut', 'keep'],
    ['rebuilt', 'damaged', 'keep-and-report', 'drop'],
    ['rebuilt', 'present', 'adopt', 'release'],
  ] as const)(
    'without a record in a %s catalog, its manifest %s, is to %s and to %s it',
    (origin, manifest, action, cut) => {
      expect(onOpen(null, 'present', manifest, origin)).toBe(action);
      expect(cutAfter(null, action)).toBe(cut);
    },
  );
});

/** A point that no record names. */
const unknownPoint = '00000000000000000000000000000777';

const codes = (store: Store): string[] => store.findings.map(({ code }) => code);

/** A world that stops at a named step of the engine; the copy does not get further than `until`. */
async function stoppedAt(world: World, step: string, call: () => Promise<unknown>): Promise<void> {
  world.onEngineStep = (name) => {
    if (name === step) world.end();
  };
  await expect(call()).rejects.toThrow();
  world.onEngineStep = () => undefined;
}

/** A point that is cut and whose copy was stopped at a step. */
async function cutPoint(stopAt: string): Promise<{ world: World; id: string; store: Store }> {
  const { world, store } = await World.makeManaged();
  world.onEngineStep = (name) => {
    if (name === stopAt) world.end();
  };
  const point = await store.capture('db', { name: 'rp1' });
  await expect.poll(() => world.hasEnded).toBe(true);
  world.onEngineStep = () => undefined;
  return { world, id: point.id, store };
}

async function byteOf(store: Store): Promise<number | undefined> {
  return (await store.read('db/rp1', { disk: 'os', offset: 0, length: 1 }))[0];
}

/** Lets copies fail, so that what opening did can be looked at. */
function noCopies(world: World): void {
  world.onEngineStep = (step) => {
    if (step === 'copy-before') throw new StillpointError('NO_SPACE', 'the disk is full');
  };
}

describe('opening a store with live disks', () => {
  it('creating | no | no: removes the record and reports it', async () => {
    const { world, store } = await World.makeManaged();
    await stoppedAt(world, 'cut-before', () => store.capture('db', { name: 'rp1' }));

    const again = await world.restart('everything');

    expect(codes(again)).toEqual(['WORK_INTERRUPTED']);
    expect([await listing(again), world.cuts]).toEqual([[], []]);
  });

  it('creating | no | no: also when a power cut took the cut, and with it all that was not flushed', async () => {
    const { world, store } = await World.makeManaged();
    await world.fill(store, 'db-os', 2);
    await stoppedAt(world, 'durable-before', () => store.capture('db', { name: 'rp1' }));

    const again = await world.restart('nothing');

    expect(codes(again)).toEqual(['UNCLEAN_STOP', 'WORK_INTERRUPTED']);
    expect([await listing(again), world.cuts]).toEqual([[], []]);
    expect((await (await again.disk('db-os')).read(0, 512))[0]).toBe(1);
  });

  it('creating | yes | no: nobody was answered; drops the cut, marks the point failed', async () => {
    const { world, store } = await World.makeManaged();
    await stoppedAt(world, 'durable-after', () => store.capture('db', { name: 'rp1' }));

    const again = await world.restart();

    expect(codes(again)).toEqual(['WORK_INTERRUPTED']);
    expect(await listing(again)).toEqual(['db/default/rp1 failed']);
    expect(world.cuts).toEqual([]);
    await expect(byteOf(again)).rejects.toMatchObject({ code: 'WORK_INTERRUPTED' });
    expect((await again.verify()).findings).toEqual([]);
    await again.deletePoint('db/rp1');
    expect(await listing(again)).toEqual([]);
  });

  it.each(['copy-before', 'copy-disk', 'copy-publish-before'])(
    'cut | yes | no: resumes the copy that ended at %s, and the point can be read at once',
    async (step) => {
      const { world, id } = await cutPoint(step);
      world.stop();
      noCopies(world);

      const again = await world.open();

      expect(again.findings).toEqual([]);
      expect(await listing(again)).toEqual(['db/default/rp1 cut']);
      expect(await byteOf(again)).toBe(1);
      world.onEngineStep = () => undefined;
      const third = await world.restart();
      await expect.poll(() => listing(third)).toEqual(['db/default/rp1 copied']);
      expect([world.manifests, await byteOf(third)]).toEqual([[id], 1]);
      await expect.poll(() => world.cuts).toEqual([]);
    },
  );

  it('any but deleting | yes | yes: is copied, and the cut released', async () => {
    const { world, id } = await cutPoint('copy-publish-after');

    const again = await world.restart();

    expect(await listing(again)).toEqual(['db/default/rp1 copied']);
    expect([world.manifests, world.cuts]).toEqual([[id], []]);
  });

  it('copied | yes | yes: releases the cut', async () => {
    const { world, id } = await cutPoint('release-before');
    expect(world.cuts).toEqual([id]);

    const again = await world.restart();

    expect(again.findings).toEqual([]);
    expect(await listing(again)).toEqual(['db/default/rp1 copied']);
    expect(world.cuts).toEqual([]);
  });

  it('copied | yes | no: copies the point again', async () => {
    const { world, id } = await cutPoint('release-before');
    world.stop();
    world.engine.loseManifest(storePath, id);

    const again = await world.open();

    expect(codes(again)).toEqual(['WORK_INTERRUPTED']);
    await expect.poll(() => listing(again)).toEqual(['db/default/rp1 copied']);
    expect(await byteOf(again)).toBe(1);
  });

  it('cut | no | no: is lost, loudly', async () => {
    const { world, id } = await cutPoint('copy-before');
    world.stop();
    world.engine.loseCut(storePath, id);

    const again = await world.open();

    expect(codes(again)).toEqual(['RESTORE_POINT_LOST']);
    expect(await listing(again)).toEqual(['db/default/rp1 failed']);
  });

  it('copied | no | no: is lost, loudly', async () => {
    const { world, store } = await World.makeManaged();
    const point = await store.capture('db', { name: 'rp1' });
    await point.copied();
    await store.close();
    world.engine.loseManifest(storePath, point.id);

    expect(codes(await world.open())).toEqual(['RESTORE_POINT_LOST']);
  });

  it.each(['remove-before', 'remove-after', 'drop-before', 'drop-after'])(
    'deleting | any | any: finishes a deletion that ended at %s',
    async (step) => {
      const { world, store } = await World.makeManaged();
      if (step.startsWith('drop')) {
        // Not copied yet: the cut is there.
        noCopies(world);
        await expect((await store.capture('db', { name: 'rp1' })).copied()).rejects.toThrow();
      } else await (await store.capture('db', { name: 'rp1' })).copied();
      await stoppedAt(world, step, () => store.deletePoint('db/rp1'));

      const third = await world.restart();

      expect(codes(third)).toEqual(['WORK_INTERRUPTED']);
      expect([await listing(third), world.manifests, world.cuts]).toEqual([[], [], []]);
    },
  );

  it('deleting | any | any with a durable pin: copies to the roots without a manifest, then finishes', async () => {
    const { world, store } = await World.makeManaged();
    noCopies(world);
    await store.capture('db', { name: 'rp1' });
    const clone = await store.cloneDisk('copy', 'db/rp1/os');
    expect((await clone.read(0, 512))[0]).toBe(1);
    await stoppedAt(world, 'drop-before', () => store.deletePoint('db/rp1'));
    expect(world.cuts).toHaveLength(1);

    const again = await world.restart();

    await expect.poll(() => listing(again)).toEqual([]);
    expect([world.cuts, world.manifests]).toEqual([[], []]);
    expect((await (await again.disk('copy')).read(0, 512))[0]).toBe(1);
  });

  it('none, sound | yes | no: drops the cut', async () => {
    const { world, store } = await World.makeManaged();
    world.engine.addCut(storePath, unknownPoint, (await store.virtualMachine('db')).id);
    expect(world.cuts).toEqual([unknownPoint]);

    const again = await world.restart();

    expect(world.cuts).toEqual([]);
    expect(await listing(again)).toEqual([]);
  });

  it('none, sound | yes | no with a durable pin: keeps the cut until the disk stands on its roots', async () => {
    const { world, store } = await World.makeManaged();
    const { disk } = await store.restoreToDisk('db', { disk: 'os', name: 'x', at: { timeMs: world.clock.nowMs() } });
    world.engine.addCut(storePath, unknownPoint, (await store.virtualMachine('db')).id, disk.id);

    const again = await world.restart();

    await expect.poll(() => world.cuts).toEqual([]);
    expect((await (await again.disk('x')).read(0, 512))[0]).toBe(1);
  });

  it.each(['moment', 'disk-create-before', 'drop-before'])(
    'a process that ends at %s of the use of a moment leaves nothing of that',
    async (step) => {
      const { world, store } = await World.makeManaged();
      world.onEngineStep = (name) => {
        if (name === step) world.end();
      };
      const at = { timeMs: world.clock.nowMs() };
      await store.restoreToDisk('db', { disk: 'os', name: 'x', at }).catch(() => undefined);
      await expect.poll(() => world.hasEnded).toBe(true);
      world.onEngineStep = () => undefined;

      const again = await world.restart();

      expect(world.cuts).toEqual([]);
      expect(await listing(again)).toEqual([]);
      const made = step === 'drop-before' ? ['x'] : [];
      expect((await again.disks()).map(({ name }) => name)).toEqual(['db-data', 'db-os', ...made]);
    },
  );

  it('none, sound | any | yes: puts the manifest into quarantine', async () => {
    const { world, store } = await World.makeManaged();
    const { id, ...point } = await store.capture('db', { name: 'rp1' });
    expect(point.state).toBe('cut');
    await expect.poll(() => listing(store)).toEqual(['db/default/rp1 copied']);
    const bringBack = world.engine.loseManifest(storePath, id);
    await store.deletePoint('db/rp1');
    await store.close();
    bringBack();

    const again = await world.open();

    expect(codes(again)).toEqual(['MANIFEST_UNKNOWN']);
    expect(world.engine.quarantinedIds(storePath)).toEqual([id]);
  });

  it('none, rebuilt | yes | no: takes the point as cut, crash-consistent, and copies it', async () => {
    const { world, id } = await cutPoint('copy-before');
    world.stop();
    world.storage.records.clear();
    noCopies(world);

    const again = await world.open();

    expect(codes(again)).toEqual(['CATALOG_DAMAGED']);
    expect(await again.restorePoint('db/rp1')).toMatchObject({
      id,
      state: 'cut',
      sequence: 1,
      consistency: { reached: 'crashConsistent' },
      configuration: { vcpus: 4 },
      disks: [
        { role: 'os', name: 'db-os' },
        { role: 'data', name: 'db-data' },
      ],
    });
    expect(await byteOf(again)).toBe(1);
    world.onEngineStep = () => undefined;
    const third = await world.restart();
    await expect.poll(() => listing(third)).toEqual(['db/default/rp1 copied']);
    expect((await third.capture('db')).sequence).toBe(2);
  });

  it('none, rebuilt | any | yes: adopts it, and releases the cut', async () => {
    const { world } = await cutPoint('copy-publish-after');
    world.stop();
    world.storage.records.clear();

    const again = await world.open();

    expect(codes(again)).toEqual(['CATALOG_DAMAGED']);
    expect(await listing(again)).toEqual(['db/default/rp1 copied']);
    expect(world.cuts).toEqual([]);
  });
});

describe('a lost catalog', () => {
  it('orphans no disk: machines, disks and points come from dump, logs and manifests', async () => {
    const { world, store } = await World.makeManaged();
    await store.createDisk({ name: 'spare', sizeBytes: 512 });
    await (await store.capture('db', { name: 'rp1' })).copied();
    const before = [await store.virtualMachines(), await store.disks(), await store.restorePoints()];
    await store.close();
    world.storage.records.clear();

    const again = await world.open();

    const [machines, disks, points] = [await again.virtualMachines(), await again.disks(), await again.restorePoints()];
    expect([machines, disks]).toEqual(before.slice(0, 2));
    // What the copy took stands in the manifest.
    expect(points).toEqual(before[2]);
    expect(points).toMatchObject([{ reference: 'db/default/rp1', state: 'copied', captured: { bytesRead: 8192 } }]);
  });

  it('with its dump gives the machine a name that its points know, and every disk its own', async () => {
    const { world, store } = await World.makeManaged();
    await store.createDisk({ name: 'spare', sizeBytes: 512 });
    await store.createVirtualMachine({ name: 'idle', disks: { os: 'spare' } });
    await (await store.capture('db', { name: 'rp1' })).copied();
    const { id } = await store.virtualMachine('idle');
    await store.close();
    world.storage.records.clear();
    world.storage.removeFile('catalog.dump');

    const again = await world.open();

    expect((await again.virtualMachines()).map(({ name, kind }) => `${name} ${kind}`)).toEqual([
      'db managed',
      `machine-${id.slice(0, 8)} managed`,
    ]);
    expect((await again.disks()).map(({ name, role, machine }) => `${name} ${role} ${String(machine)}`)).toEqual([
      'db-data data db',
      'db-os os db',
      `spare os machine-${id.slice(0, 8)}`,
    ]);
    await (await again.capture('db')).copied();
  });
});

describe('a disk that no log has', () => {
  it('is reported at every open, and can be deleted', async () => {
    const { world, store } = await World.makeManaged();
    const { id } = await store.disk('db-data');
    await store.close();
    world.engine.loseDisk(storePath, id);

    for (let round = 0; round < 2; round += 1) {
      const again = await world.open();
      expect(codes(again)).toEqual(['DISK_LOST']);
      await again.close();
    }
    const last = await world.open();
    await last.restoreInPlace('db/none').catch(() => undefined);
    await (await last.disk('db-data')).delete();
    expect((await last.virtualMachine('db')).disks.map(({ role }) => role)).toEqual(['os']);
    await last.close();
    expect((await world.open()).findings).toEqual([]);
  });

  it('cannot be captured, where its machine has no other, and takes no number', async () => {
    const { world, store } = await World.makeManaged();
    const { id } = await store.virtualMachine('db');
    const disks = [(await store.disk('db-os')).id, (await store.disk('db-data')).id];
    await store.close();
    for (const disk of disks) world.engine.loseDisk(storePath, disk);
    const again = await world.open();

    await expect(again.capture('db')).rejects.toMatchObject({ code: 'DISK_NOT_FOUND' });

    expect([...world.storage.records.keys()]).not.toContain(`sequence/${id}`);
  });
});
