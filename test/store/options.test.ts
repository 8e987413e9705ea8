/** Every option out of range is refused with its name, what came, and what is allowed; before anything happens. */

import { describe, expect, it } from 'vitest';

import { StillpointError } from '../../src/store/errors.js';
import {
  capturePlan,
  collectPlan,
  createDiskPlan,
  createStorePlan,
  diffPlan,
  eventsPlan,
  importDiskPlan,
  machineChangePlan,
  machinePlan,
  openStorePlan,
  pointDiskPlan,
  readPlan,
  restoreDisksPlan,
  restoreInPlacePlan,
  restoreToDiskPlan,
  restoreToMachinePlan,
  restorePlan,
  verifyPlan,
} from '../../src/store/plans.js';
import { World } from './world.js';

/** What JavaScript callers may pass: the types are not in the way. */
type Loose = (...args: unknown[]) => unknown;
// A cast: these tests pass what the types forbid.
const loose = (plan: unknown): Loose => plan as Loose;

function refusal(call: () => unknown): StillpointError {
  try {
    call();
  } catch (error) {
    if (error instanceof StillpointError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

const cyclic: Record<string, unknown> = {};
cyclic['self'] = cyclic;
const disks = [{ role: 'os', external: '/os.raw' }];

describe('an option', () => {
  it.each<[string, unknown, readonly unknown[], string]>([
    ['createStore', createStorePlan, [{ path: '' }], 'path'],
    ['createStore', createStorePlan, [{}], 'path'],
    ['createStore', createStorePlan, [undefined], 'options'],
    ['createStore', createStorePlan, [{ path: '/s', chunkBytes: 4096 }], 'chunkBytes'],
    ['createStore', createStorePlan, [{ path: '/s', chunkBytes: '65536' }], 'chunkBytes'],
    ['createStore', createStorePlan, [{ path: '/s', compression: 'lzma' }], 'compression'],
    ['createStore', createStorePlan, [{ path: '/s', compressionLevel: 0 }], 'compressionLevel'],
    ['createStore', createStorePlan, [{ path: '/s', compressionLevel: 20 }], 'compressionLevel'],
    ['createStore', createStorePlan, [{ path: '/s', compressionLevel: 2.5 }], 'compressionLevel'],
    ['createStore', createStorePlan, [{ path: '/s', compression: 'none', compressionLevel: 3 }], 'compressionLevel'],
    ['createStore', createStorePlan, [{ path: '/s', compression: 'lz4', compressionLevel: 1 }], 'compressionLevel'],
    ['createStore', createStorePlan, [{ path: '/s', chunkSize: 65536 }], 'options.chunkSize'],
    ['openStore', openStorePlan, [{ path: '/s\0' }], 'path'],
    ['openStore', openStorePlan, [{ path: `/${'x'.repeat(4096)}` }], 'path'],
    ['openStore', openStorePlan, [{ path: '/s', readOnly: 1 }], 'readOnly'],
    ['openStore', openStorePlan, [{ path: '/s', threads: 0 }], 'threads'],
    ['openStore', openStorePlan, [{ path: '/s', threads: 257 }], 'threads'],
    ['openStore', openStorePlan, [{ path: '/s', threads: Number.NaN }], 'threads'],
    ['openStore', openStorePlan, [{ path: '/s', copyBytesPerSecond: 0 }], 'copyBytesPerSecond'],
    ['openStore', openStorePlan, [{ path: '/s', copyBytesPerSecond: 1.5 }], 'copyBytesPerSecond'],
    ['openStore', openStorePlan, [{ path: '/s', chunkCacheBytes: -1 }], 'chunkCacheBytes'],
    ['openStore', openStorePlan, [{ path: '/s', chunkCacheBytes: 2 ** 40 + 1 }], 'chunkCacheBytes'],
    ['createVirtualMachine', machinePlan, [{ disks }], 'name'],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks: { os: 1 } }], 'disks.os'],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks: null }], 'disks'],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks: [{ role: 'os', disk: '' }] }], 'disks[0].disk'],
    [
      'createVirtualMachine',
      machinePlan,
      [{ name: 'a', disks: [...disks, { role: 'x', disk: 'd' }] }],
      'disks[0].external',
    ],
    [
      'createVirtualMachine',
      machinePlan,
      [{ name: 'a', disks: [{ role: 'os', disk: 'd', sectorBytes: 512 }] }],
      'disks[0].sectorBytes',
    ],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks: [{ role: 'os', import: '' }] }], 'disks[0].import'],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks: [null] }], 'disks[0]'],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks: [{ role: 'os' }] }], 'disks[0].external'],
    [
      'createVirtualMachine',
      machinePlan,
      [{ name: 'a', disks: [{ ...disks[0], sectorBytes: 1024 }] }],
      'disks[0].sectorBytes',
    ],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks: [{ ...disks[0], size: 1 }] }], 'disks[0].size'],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks, subscription: 'mine' }], 'subscription'],
    [
      'createVirtualMachine',
      machinePlan,
      [{ name: 'a', disks, configuration: { at: new Date(0) } }],
      'configuration at $.at',
    ],
    [
      'createVirtualMachine',
      machinePlan,
      [{ name: 'a', disks, configuration: [1, undefined] }],
      'configuration at $[1]',
    ],
    [
      'createVirtualMachine',
      machinePlan,
      [{ name: 'a', disks, configuration: Number.POSITIVE_INFINITY }],
      'configuration at $',
    ],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks, configuration: 1n }], 'configuration at $'],
    ['createVirtualMachine', machinePlan, [{ name: 'a', disks, configuration: 'x'.repeat(1 << 20) }], 'configuration'],
    ['updateVirtualMachine', machineChangePlan, [{ removeDisks: [''] }], 'removeDisks[0]'],
    ['updateVirtualMachine', machineChangePlan, [{ paths: ['/a'] }], 'paths'],
    ['updateVirtualMachine', machineChangePlan, [{ paths: { os: 1 } }], 'paths.os'],
    ['updateVirtualMachine', machineChangePlan, [{ name: 'b' }], 'change.name'],
    ['capture', capturePlan, ['', {}], 'machine'],
    ['capture', capturePlan, ['a', { name: 1 }], 'name'],
    ['capture', capturePlan, ['a', { collection: '' }], 'collection'],
    ['capture', capturePlan, ['a', { consistency: 'crash' }], 'consistency'],
    ['capture', capturePlan, ['a', { exclude: 'os' }], 'exclude'],
    ['capture', capturePlan, ['a', { frozen: 'yes' }], 'frozen'],
    ['capture', capturePlan, ['a', { signal: {} }], 'signal'],
    ['capture', capturePlan, ['a', { onProgress: 1 }], 'onProgress'],
    ['diff', diffPlan, ['a/b', 'a/c', {}, 65536], 'disk'],
    ['diff', diffPlan, ['a/b', 'a/c', { disk: 'os', granularity: 256 }, 65536], 'granularity'],
    ['diff', diffPlan, ['a/b', 'a/c', { disk: 'os', granularity: 131072 }, 65536], 'granularity'],
    ['diff', diffPlan, ['a/b', 'a/c', { disk: 'os', granularity: 768 }, 65536], 'granularity'],
    ['diff', diffPlan, ['', 'a/c', { disk: 'os' }, 65536], 'before'],
    ['read', readPlan, ['a/b', { disk: 'os', offset: -1, length: 1 }], 'offset'],
    ['read', readPlan, ['a/b', { disk: 'os', offset: 0, length: 0.5 }], 'length'],
    ['restore', restorePlan, ['a/b', { disk: 'os' }], 'to'],
    ['restore', restorePlan, ['a/b', { disk: 'os', to: '/t', overwrite: 0 }], 'overwrite'],
    ['restoreDisks', restoreDisksPlan, ['a/b', {}], 'directory'],
    ['restoreDisks', restoreDisksPlan, ['a/b', { directory: '/t', disks: [] }], 'disks'],
    ['restoreDisks', restoreDisksPlan, ['a/b', { directory: '/t', disks: ['os', 1] }], 'disks[1]'],
    ['restoreDisks', restoreDisksPlan, ['a/b', { directory: '/t', to: '/t' }], 'options.to'],
    ['restore', restorePlan, ['a', { disk: 'os', to: '/t', at: 1 }], 'at'],
    ['restore', restorePlan, ['a', { disk: 'os', to: '/t', at: {} }], 'at'],
    ['restore', restorePlan, ['a', { disk: 'os', to: '/t', at: { lsn: '1', timeMs: 1 } }], 'at'],
    ['restore', restorePlan, ['a', { disk: 'os', to: '/t', at: { lsn: '-1' } }], 'at.lsn'],
    ['restore', restorePlan, ['a', { disk: 'os', to: '/t', at: { lsn: '18446744073709551616' } }], 'at.lsn'],
    ['restore', restorePlan, ['a', { disk: 'os', to: '/t', at: { timeMs: 1.5 } }], 'at.timeMs'],
    ['restoreToDisk', restoreToDiskPlan, ['a/b', { disk: 'os' }], 'name'],
    ['restoreInPlace', restoreInPlacePlan, ['a/b', { disks: [] }], 'disks'],
    ['restoreToMachine', restoreToMachinePlan, ['a/b', { name: 'c', subscription: 'mine' }], 'subscription'],
    ['cloneDisk', pointDiskPlan, ['web1'], 'pointDisk'],
    ['cloneDisk', pointDiskPlan, ['web1/rp1/'], 'pointDisk'],
    ['createDisk', createDiskPlan, [{ name: 'a' }], 'sizeBytes'],
    ['createDisk', createDiskPlan, [{ name: 'a', sizeBytes: 0 }], 'sizeBytes'],
    ['createDisk', createDiskPlan, [{ name: 'a', sizeBytes: -512 }], 'sizeBytes'],
    ['createDisk', createDiskPlan, [{ name: 'a', sizeBytes: 513 }], 'sizeBytes'],
    ['createDisk', createDiskPlan, [{ name: 'a', sizeBytes: 512, sectorBytes: 4096 }], 'sizeBytes'],
    ['createDisk', createDiskPlan, [{ name: 'a', sizeBytes: 2 ** 47 }], 'sizeBytes'],
    ['importDisk', importDiskPlan, [{ name: 'a' }], 'path'],
    ['events', eventsPlan, [{ intervalMs: 1 }], 'intervalMs'],
    ['verify', verifyPlan, [{ readData: 'all' }], 'readData'],
    ['collect', collectPlan, [{ dry: true }], 'options.dry'],
  ])('of %s: %#', (_call, plan, args, option) => {
    const error = refusal(() => loose(plan)(...args));

    expect(error.code).toBe('ARGUMENT_INVALID');
    expect(error.context['option']).toBe(option);
    expect(error.context['received']).toEqual(expect.any(String));
    expect(error.context['allowed']).toEqual(expect.any(String));
  });

  it('that is a cycle is refused, not followed forever', () => {
    expect(refusal(() => machinePlan({ name: 'a', disks, configuration: cyclic })).context['option']).toMatch(
      /^configuration at/,
    );
  });

  it('that is left out has its documented default', () => {
    expect(createStorePlan({ path: '/s' })).toEqual({
      path: '/s',
      chunkBytes: 65536,
      compression: 'zstd',
      compressionLevel: 2,
    });
    expect(createStorePlan({ path: '/s', compression: 'none' }).compressionLevel).toBe(0);
    expect(createStorePlan({ path: '/s', compression: 'lz4' }).compressionLevel).toBe(0);
    const plan = { path: '/s', readOnly: false, threads: 1, copyBytesPerSecond: null, chunkCacheBytes: null };
    expect(openStorePlan({ path: '/s', threads: 1 })).toEqual(plan);
    expect(openStorePlan({ path: '/s', threads: 1, copyBytesPerSecond: 1 << 20 }).copyBytesPerSecond).toBe(1 << 20);
    expect(openStorePlan({ path: '/s', threads: 1, chunkCacheBytes: 0 }).chunkCacheBytes).toBe(0);
    expect(capturePlan('a', {}).plan).toEqual({
      machine: 'a',
      name: null,
      collection: 'default',
      requested: null,
      exclude: [],
      frozen: false,
    });
    expect(restorePlan('a/b', { disk: 'os', to: '/t' }).target).toEqual({
      targetPath: '/t',
      overwrite: false,
      sync: true,
    });
  });

  it('of a call rejects the call, but a diff throws at once', async () => {
    const { store } = await World.make();

    await expect(loose(store.capture.bind(store))('web1', { name: 1 })).rejects.toMatchObject({
      code: 'ARGUMENT_INVALID',
    });
    expect(() => store.diff('web1/a', 'web1/b', { disk: 'os', granularity: 3 })).toThrow(StillpointError);
  });
});
