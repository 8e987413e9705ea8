/** Creating, changing and deleting machines. */

import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { World } from '../store/world.js';

const disk = (role: string, external = `/images/${role}.raw`): { role: string; external: string } => ({
  role,
  external,
});

describe('a machine', () => {
  it('is created with every default filled in', async () => {
    const { world, store } = await World.make();

    const machine = await store.createVirtualMachine({
      name: 'db',
      disks: [{ ...disk('data', 'relative.raw'), sectorBytes: 4096 }],
    });

    expect(machine).toMatchObject({
      name: 'db',
      subscription: '00000000-0000-0000-0000-000000000000',
      resourceGroup: 'default',
      configuration: null,
      createdMs: world.clock.nowMs(),
      disks: [
        { role: 'data', name: 'db-data', kind: 'external', source: path.resolve('relative.raw'), sectorBytes: 4096 },
      ],
    });
    expect(await store.virtualMachine('DB')).toEqual(machine);
    expect((await store.virtualMachines()).map(({ name }) => name)).toEqual(['db', 'web1']);
  });

  it('survives the end of the process once it is acknowledged', async () => {
    const { world, store } = await World.make();
    const machine = await store.createVirtualMachine({
      name: 'db',
      disks: [disk('data')],
      configuration: { a: [1, { b: null }] },
    });

    expect(await (await world.restart()).virtualMachine('db')).toEqual(machine);
  });

  it.each([
    [{ name: 'WEB1', disks: [disk('os')] }, 'MACHINE_EXISTS'],
    [{ name: 'web 2', disks: [disk('os')] }, 'NAME_INVALID'],
    [{ name: 'web2', disks: [disk('o/s')] }, 'NAME_INVALID'],
    [{ name: 'x'.repeat(79), disks: [disk('os')] }, 'NAME_INVALID'],
    [{ name: 'web2', disks: [disk('os'), disk('OS')] }, 'DISK_EXISTS'],
    [{ name: 'web1-os', disks: [disk('x')], resourceGroup: 'a b' }, 'NAME_INVALID'],
    [{ name: 'web2', disks: [] }, 'ARGUMENT_INVALID'],
    [{ name: 'web2', disks: Array.from({ length: 257 }, (_, index) => disk(`d${index}`)) }, 'ARGUMENT_INVALID'],
  ])('%# is refused with %s and leaves the store as it was', async (request, code) => {
    const { store } = await World.make();

    await expect(store.createVirtualMachine(request)).rejects.toMatchObject({ code });
    expect((await store.virtualMachines()).map(({ name }) => name)).toEqual(['web1']);
  });

  it('whose disk would have the name of another disk of the store is refused', async () => {
    const { store } = await World.make();
    await store.createVirtualMachine({ name: 'a', disks: [disk('b-c')] });

    await expect(store.createVirtualMachine({ name: 'a-b', disks: [disk('c')] })).rejects.toMatchObject({
      code: 'DISK_EXISTS',
    });
  });

  it('is created once when two callers want its name', async () => {
    const { store } = await World.make();
    const both = await Promise.allSettled(
      ['db', 'DB'].map((name) => store.createVirtualMachine({ name, disks: [disk('data')] })),
    );

    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it('keeps a copy of its configuration, and gives out one that cannot be changed', async () => {
    const { store } = await World.make();
    const configuration = { tags: ['a'] };
    const machine = await store.createVirtualMachine({ name: 'db', disks: [disk('data')], configuration });
    configuration.tags.push('b');

    expect((await store.virtualMachine('db')).configuration).toEqual({ tags: ['a'] });
    expect(Object.isFrozen(machine.configuration)).toBe(true);
  });
});

describe('a change of a machine', () => {
  it('adds, moves and removes disks; the others stay the same disks', async () => {
    const { world, store } = await World.make();
    const before = await store.virtualMachine('web1');

    const after = await store.updateVirtualMachine('web1', {
      addDisks: [disk('swap')],
      removeDisks: ['data'],
      paths: { OS: '/elsewhere/os.raw' },
    });

    expect(after.disks.map(({ role, source }) => [role, source])).toEqual([
      ['os', '/elsewhere/os.raw'],
      ['swap', '/images/swap.raw'],
    ]);
    expect(after.disks[0]?.id).toBe(before.disks[0]?.id);
    expect(after.configuration).toEqual(before.configuration);
    expect(await (await world.restart()).virtualMachine('web1')).toEqual(after);
  });

  it('may give the role of a removed disk to a new one, which is another disk', async () => {
    const { store } = await World.make();
    const before = await store.virtualMachine('web1');

    const after = await store.updateVirtualMachine('web1', {
      removeDisks: ['data'],
      addDisks: [disk('data', '/new.raw')],
    });

    expect(after.disks[1]).toMatchObject({ role: 'data', source: '/new.raw' });
    expect(after.disks[1]?.id).not.toBe(before.disks[1]?.id);
  });

  it('may set the configuration to null, and leaves it when it is left out', async () => {
    const { store } = await World.make();
    expect((await store.updateVirtualMachine('web1', {})).configuration).toEqual({ vcpus: 2 });
    expect((await store.updateVirtualMachine('web1', { configuration: null })).configuration).toBeNull();
  });

  it.each([
    [{ removeDisks: ['swap'] }, 'DISK_NOT_FOUND'],
    [{ paths: { swap: '/swap.raw' } }, 'DISK_NOT_FOUND'],
    [{ removeDisks: ['os'], paths: { os: '/os.raw' } }, 'DISK_NOT_FOUND'],
    [{ addDisks: [disk('OS')] }, 'DISK_EXISTS'],
    [{ removeDisks: ['os', 'data'] }, 'ARGUMENT_INVALID'],
  ])('%j is refused with %s and changes nothing', async (change, code) => {
    const { store } = await World.make();
    const before = await store.virtualMachine('web1');

    await expect(store.updateVirtualMachine('web1', change)).rejects.toMatchObject({ code });
    expect(await store.virtualMachine('web1')).toEqual(before);
  });
});

describe('deleting a machine', () => {
  it('is refused while it has points, and frees its names when it has none', async () => {
    const { world, store } = await World.make();
    await store.capture('web1', { name: 'rp1', collection: 'daily' });
    await expect(store.deleteVirtualMachine('web1')).rejects.toMatchObject({
      code: 'MACHINE_NOT_EMPTY',
      context: { points: 1 },
    });
    await store.deletePoint('web1/rp1');
    await store.deleteVirtualMachine('web1');

    const again = await world.restart();
    expect(await again.virtualMachines()).toEqual([]);
    const machine = await again.createVirtualMachine({ name: 'web1', disks: [disk('os')] });
    expect((await again.capture('web1', { collection: 'daily' })).sequence).toBe(1);
    expect(machine.disks).toHaveLength(1);
  });

  it('that is not there is refused', async () => {
    const { store } = await World.make();

    await expect(store.deleteVirtualMachine('db')).rejects.toMatchObject({ code: 'MACHINE_NOT_FOUND' });
  });
});
