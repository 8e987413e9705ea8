/** Disks come from images of other formats and go to them, through qemu-img: whole and sparse, or not at all. */

import { once } from 'node:events';
import { utimesSync } from 'node:fs';
import { cp, mkdir, open, readFile, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import process from 'node:process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { createStore, openStore, type ImageFormat, type Store } from '../../src/index.js';
import { requireTool } from '../house/tools.js';
import { codeOf, runCommand, startCommand } from '../input/command.js';
import { noise, still } from '../input/temporary.js';
import { attachLoop, detachLoop, loopIsMissing } from './loop.js';
import { MiB, ServedStage, sparseImage } from './nbd-stage.js';
import { allocatedBytes, hashOf, run } from './stage.js';

const qemuImg = requireTool('qemu-img');
const sizeBytes = 64 * MiB;
const drivers = { qcow2: 'qcow2', vhd: 'vpc', vhdx: 'vhdx', vmdk: 'vmdk', vdi: 'vdi' } as const;
type Container = keyof typeof drivers;
const formats = Object.keys(drivers) as Container[]; // a cast: the keys of our own object

let stage: ServedStage;
let store: Store;
beforeAll(async () => {
  stage = await ServedStage.make({ os: sizeBytes });
  store = stage.store;
  await mkdir(stage.at('tmp'));
  process.env['TMPDIR'] = stage.at('tmp'); // where nobody else leaves anything
});
afterAll(() => stage.end());

async function refusal(call: Promise<unknown>): Promise<{ readonly code: string; readonly message: string }> {
  const error: unknown = await call.then(
    () => new Error('it went well'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof Error)) throw new TypeError('no error');
  return { code: 'code' in error ? String(error.code) : '', message: error.message };
}

/** Disks, and what lies in the temporary folder and beside targets. */
async function traces(): Promise<{ readonly disks: string[]; readonly folders: string[] }> {
  const beside = (await readdir(stage.folder)).filter((name) => name.startsWith('.'));
  return {
    disks: (await store.disks()).map(({ name }) => name),
    folders: [...(await readdir(stage.at('tmp'))), ...beside],
  };
}

describe.skipIf(qemuImg.isMissing)('an image of the format', () => {
  it.each(formats)('%s goes to a disk and back again', async (format) => {
    const raw = stage.at(`${format}.raw`);
    const image = stage.at(`in.${format}`);
    await sparseImage(raw, sizeBytes, formats.indexOf(format) + 10);
    const options = format === 'vhd' ? ['-o', 'force_size=on'] : [];
    await run(qemuImg, 'convert', '-f', 'raw', '-O', drivers[format], ...options, raw, image);

    const progress: number[] = [];
    const disk = await store.importDisk({
      name: `from-${format}`,
      path: image,
      onProgress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes),
    });
    expect(disk.info.sizeBytes).toBe(sizeBytes);
    expect(progress.at(-1)).toBe(1);
    expect(Buffer.from(await disk.read(0, 32 * MiB)).equals((await readFile(raw)).subarray(0, 32 * MiB))).toBe(true);
    const uri = stage.uri(`from-${format}`);
    expect(await run(qemuImg, 'compare', '-f', 'raw', '-F', 'raw', raw, uri)).toContain('identical');

    await store.createVirtualMachine({ name: `vm-${format}`, disks: { os: disk.name } });
    const point = await store.capture(`vm-${format}`, { name: 'rp1' });
    const out = stage.at(`out.${format}`);
    const report = await store.restore(point.reference, { disk: 'os', to: out, format });

    expect(await run(qemuImg, 'compare', '-f', 'raw', '-F', drivers[format], raw, out)).toContain('identical');
    expect(JSON.parse(await run(qemuImg, 'info', '--output=json', '-f', drivers[format], out))).toMatchObject({
      'virtual-size': sizeBytes,
    });
    expect(report).toMatchObject({ sizeBytes, bytesWritten: await allocatedBytes(out) });
    expect(await allocatedBytes(out)).toBeLessThan((await allocatedBytes(raw)) * 2 + 16 * MiB);
    if (format === 'qcow2') expect(await run(qemuImg, 'check', '-f', 'qcow2', out)).toContain('No errors');
  });

  it.each(formats)('%s holds a disk whose size fits no block of it', async (format) => {
    const odd = 8 * MiB + 512;
    const disk = await store.createDisk({ name: `odd-${format}`, sizeBytes: odd });
    await disk.write(odd - 512, noise(1, 512));
    await store.createVirtualMachine({ name: `odd-${format}`, disks: { os: disk.name } });
    const point = await store.capture(`odd-${format}`, { name: 'rp1' });
    const out = stage.at(`odd.${format}`);
    await store.restore(point.reference, { disk: 'os', to: out, format });
    const again = await store.importDisk({ name: `again-${format}`, path: out });

    expect(again.info.sizeBytes).toBe(odd);
    expect(Buffer.from(await again.read(odd - 512, 512)).equals(noise(1, 512))).toBe(true);
  });

  it('vhd of fixed size, as Azure has them, is known by its last bytes', async () => {
    const raw = stage.at('fixed.raw');
    const image = stage.at('fixed.vhd');
    await sparseImage(raw, 8 * MiB, 30);
    await run(qemuImg, 'convert', '-f', 'raw', '-O', 'vpc', '-o', 'subformat=fixed,force_size=on', raw, image);

    const disk = await store.importDisk({ name: 'fixed', path: image });

    expect(disk.info.sizeBytes).toBe(8 * MiB);
    expect(Buffer.from(await disk.read(0, 8 * MiB)).equals(await readFile(raw))).toBe(true);
  });

  it('that was named counts, not what the file looks like', async () => {
    const image = stage.at('as-raw.qcow2');
    await run(qemuImg, 'create', '-q', '-f', 'qcow2', image, '8M');
    await truncate(image, MiB);
    await still(image);

    const disk = await store.importDisk({ name: 'as-raw', path: image, format: 'raw' });

    expect(Buffer.from(await disk.read(0, MiB)).equals(await readFile(image))).toBe(true);
    expect(await refusal(store.importDisk({ name: 'x', path: image, format: 'vhdx' }))).toMatchObject({
      code: 'IMAGE_UNSUPPORTED',
      message: expect.stringContaining('is no vhdx image, but qcow2') as unknown,
    });
  });

  it('on a block device is imported where its format is named; without it the device is raw', async (context) => {
    if (loopIsMissing()) context.skip();
    const image = stage.at('device.qcow2');
    await run(qemuImg, 'convert', '-f', 'raw', '-O', 'qcow2', stage.at('fixed.raw'), image);
    await truncate(image, 16 * MiB); // devices go on behind what is on them
    const device = attachLoop(image);
    try {
      const disk = await store.importDisk({ name: 'on-device', path: device, format: 'qcow2', sectorBytes: 4096 });
      expect(disk.info).toMatchObject({ sizeBytes: 8 * MiB, sectorBytes: 4096 });
      expect(Buffer.from(await disk.read(0, 8 * MiB)).equals(await readFile(stage.at('fixed.raw')))).toBe(true);
      expect((await store.importDisk({ name: 'device', path: device })).info.sizeBytes).toBe(16 * MiB);
    } finally {
      detachLoop(device);
    }
  });

  it('that is written to while it is read is refused', async () => {
    const image = stage.at('written.qcow2');
    await run(qemuImg, 'convert', '-f', 'raw', '-O', 'qcow2', stage.at('fixed.raw'), image);
    let touched = false;
    const call = store.importDisk({
      name: 'written',
      path: image,
      onProgress: () => {
        if (!touched) utimesSync(image, 1, 1);
        touched = true;
      },
    });

    expect((await refusal(call)).code).toBe('SOURCE_CHANGED');
    expect((await store.disks()).map(({ name }) => name)).not.toContain('written');
  });

  it('of each becomes a machine, all of them or none', async () => {
    const [first, second, raw] = [stage.at('first.qcow2'), stage.at('second.vmdk'), stage.at('third.raw')];
    await run(qemuImg, 'create', '-q', '-f', 'qcow2', first, '8M');
    await run(qemuImg, 'create', '-q', '-f', 'vmdk', second, '16M');
    await writeFile(raw, noise(3, MiB));
    const machine = await store.createVirtualMachine({
      name: 'imported',
      disks: [
        { role: 'os', import: first },
        { role: 'data', import: second, format: 'vmdk' },
        { role: 'log', import: raw },
      ],
    });
    expect(machine.disks.map(({ role }) => role)).toEqual(['os', 'data', 'log']);
    expect((await store.disk('imported-data')).info.sizeBytes).toBe(16 * MiB);

    const before = await traces();
    const broken = { role: 'data', import: stage.at('nothing.qcow2'), format: 'qcow2' } as const;
    const made = store.createVirtualMachine({ name: 'broken', disks: [{ role: 'os', import: first }, broken] });
    expect((await refusal(made)).code).toBe('SOURCE_NOT_FOUND');
    expect(await traces()).toEqual(before);
  });
});

describe.skipIf(qemuImg.isMissing)('an import refuses', () => {
  const image = (name: string, ...args: readonly string[]): Promise<string> =>
    run(qemuImg, 'create', '-q', '-f', 'qcow2', ...args, stage.at(name), '8M');
  const refused = async (name: string, format?: ImageFormat): Promise<string> => {
    const before = await traces();
    const { code, message } = await refusal(store.importDisk({ name: 'refused', path: stage.at(name), format }));
    expect(await traces()).toEqual(before);
    return `${code}: ${message.replace(stage.folder, '')}`;
  };

  it('what stands on other files: they may be any of this machine', async () => {
    await writeFile(stage.at('secret'), noise(1, 8 * MiB));
    await image('backed.qcow2', '-b', stage.at('secret'), '-F', 'raw');
    await image('external.qcow2', '-o', `data_file=${stage.at('data-file')}`);
    await writeFile(
      stage.at('descriptor.vmdk'),
      `# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 16384 FLAT "${stage.at('secret')}" 0\n`,
    );
    const hidden = stage.at('hidden.vmdk');
    await run(qemuImg, 'create', '-q', '-f', 'vmdk', hidden, '8M');
    const file = await open(hidden, 'r+');
    await file.write(Buffer.alloc(8), 0, 8, 12); // of no capacity: its descriptor is gone by
    await file.close();

    expect(await refused('backed.qcow2')).toBe('IMAGE_UNSUPPORTED: /backed.qcow2 stands on a backing file');
    expect(await refused('external.qcow2')).toBe('IMAGE_UNSUPPORTED: /external.qcow2 has its data in another file');
    for (const name of ['descriptor.vmdk', 'hidden.vmdk']) {
      expect(await refused(name)).toBe(`IMAGE_UNSUPPORTED: /${name} is a descriptor, which names other files`);
    }
  });

  it('what is encrypted, cut off, of another format or no image', async () => {
    await image('luks.qcow2');
    const luks = await open(stage.at('luks.qcow2'), 'r+');
    await luks.write(Buffer.from([0, 0, 0, 2]), 0, 4, 32); // the method of encryption
    await luks.close();
    await image('cut.qcow2');
    await truncate(stage.at('cut.qcow2'), 200);
    await writeFile(stage.at('qed.img'), Buffer.concat([Buffer.from('QED\0'), Buffer.alloc(4096)]));
    await writeFile(stage.at('plain.img'), Buffer.alloc(4096, 1));
    await symlink('/dev/null', stage.at('null.qcow2'));

    expect(await refused('luks.qcow2')).toBe('IMAGE_UNSUPPORTED: /luks.qcow2 is encrypted');
    expect(await refused('cut.qcow2')).toMatch(/^IMAGE_CONVERSION_FAILED: qemu-img could not find .* sound: it said: /);
    expect(await refused('qed.img')).toBe('IMAGE_UNSUPPORTED: /qed.img is a QED image');
    expect(await refused('plain.img', 'qcow2')).toBe('IMAGE_UNSUPPORTED: /plain.img is no qcow2 image, but raw');
    expect(await refused('null.qcow2', 'qcow2')).toMatch(/^SOURCE_NOT_A_DISK/);
    expect(await refused('gone.qcow2', 'qcow2')).toMatch(/^SOURCE_NOT_FOUND/);
  });

  it.each(formats)('a %s image that was cut off, in which QEMU reads zeros', async (format) => {
    const [raw, cut] = [stage.at('whole.raw'), stage.at(`cut-off.${format}`)];
    await writeFile(raw, noise(9, 8 * MiB));
    await run(qemuImg, 'convert', '-f', 'raw', '-O', drivers[format], raw, cut);
    await truncate(cut, 4 * MiB);

    expect(await refused(`cut-off.${format}`)).toMatch(/^IMAGE_(CONVERSION_FAILED|UNSUPPORTED): /);
  });

  it('a disk of no whole number of its sectors', async () => {
    await run(qemuImg, 'create', '-q', '-f', 'qcow2', stage.at('sectors.qcow2'), String(MiB + 512));
    const import_ = store.importDisk({ name: 'refused', path: stage.at('sectors.qcow2'), sectorBytes: 4096 });

    expect((await refusal(import_)).code).toBe('SOURCE_SIZE_INVALID');
  });
});

describe.skipIf(qemuImg.isMissing)('a conversion', () => {
  const large = 1024 * MiB;

  it('that is cancelled in the middle leaves nothing, on either way', { timeout: 120_000 }, async () => {
    const image = stage.at('large.qcow2');
    const disk = await store.createDisk({ name: 'large', sizeBytes: large });
    for (let at = 0; at < 192; at += 8) await disk.write(at * MiB, noise(at, 8 * MiB));
    await store.createVirtualMachine({ name: 'large', disks: { os: 'large' } });
    const { reference } = await store.capture('large', { name: 'rp1' });
    await store.restore(reference, { disk: 'os', to: image, format: 'qcow2', sync: false });
    const before = await traces();

    for (const way of ['in', 'out'] as const) {
      const stop = new AbortController();
      const control = {
        signal: stop.signal,
        onProgress: ({ doneBytes }: { readonly doneBytes: number }) => {
          if (doneBytes > 0) stop.abort(new Error('enough'));
        },
      };
      const call =
        way === 'in'
          ? store.importDisk({ name: 'stopped', path: image, ...control })
          : store.restore(reference, { disk: 'os', to: stage.at('stopped.vhdx'), format: 'vhdx', ...control });

      expect([way, (await refusal(call)).code]).toEqual([way, 'CANCELLED']);
      expect(await traces()).toEqual(before);
      expect(await readdir(stage.folder)).not.toContain('stopped.vhdx');
    }
    expect((await store.importDisk({ name: 'stopped', path: image })).info.sizeBytes).toBe(large);
    expect(await run(qemuImg, 'compare', '-f', 'raw', '-F', 'qcow2', stage.uri('stopped'), image)).toContain(
      'identical',
    );
  });

  it('replaces nothing that it was not told to, and a file as a whole', async () => {
    await (await store.disk('os')).write(0, noise(5, MiB));
    await stage.captured('kept');
    const to = stage.at('kept.qcow2');
    await writeFile(to, 'something else');
    const options = { disk: 'os', to, format: 'qcow2' } as const;
    expect((await refusal(store.restore('vm/kept', options))).code).toBe('TARGET_EXISTS');
    expect(await readFile(to, 'utf8')).toBe('something else');

    await store.restore('vm/kept', { ...options, overwrite: true });
    expect(await run(qemuImg, 'compare', '-f', 'qcow2', '-F', 'raw', to, stage.uri('vm/kept/os'))).toContain(
      'identical',
    );
    const inFolder = { ...options, to: stage.folder, overwrite: true };
    expect((await refusal(store.restore('vm/kept', inFolder))).code).toBe('TARGET_INVALID');
    const nowhere = { ...options, to: stage.at('no/folder/x.qcow2') };
    expect((await refusal(store.restore('vm/kept', nowhere))).code).toBe('TARGET_INVALID');
  });

  it('makes one for each disk in a directory, all of them or none', async () => {
    const images = { os: stage.at('many-os.raw'), data: stage.at('many-data.raw') };
    await sparseImage(images.os, sizeBytes, 31);
    await sparseImage(images.data, sizeBytes / 2, 32);
    for (const image of Object.values(images)) await still(image);
    await store.createVirtualMachine({
      name: 'many',
      disks: Object.entries(images).map(([role, path]) => ({ role, import: path })),
    });
    const { reference } = await store.capture('many', { name: 'rp1' });
    const directory = stage.at('many');

    const progress: number[] = [];
    const { disks } = await store.restoreDisks(reference, {
      directory,
      format: 'qcow2',
      onProgress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes),
    });

    expect(disks.map(({ disk, to }) => [disk, to])).toEqual([
      ['os', stage.at('many/os.qcow2')],
      ['data', stage.at('many/data.qcow2')],
    ]);
    for (const [role, raw] of Object.entries(images)) {
      const image = stage.at(`many/${role}.qcow2`);
      expect(await run(qemuImg, 'compare', '-f', 'raw', '-F', 'qcow2', raw, image)).toContain('identical');
    }
    expect(Math.max(...progress)).toBeLessThanOrEqual(1);

    // The second cannot be made.
    const other = stage.at('many-again');
    await mkdir(stage.at('many-again/data.vhd'), { recursive: true });
    await expect(store.restoreDisks(reference, { directory: other, format: 'vhd' })).rejects.toMatchObject({
      code: 'TARGET_EXISTS',
    });
    await expect(
      store.restoreDisks(reference, { directory: other, format: 'vhd', overwrite: true }),
    ).rejects.toMatchObject({ code: 'TARGET_INVALID' });
    expect(await readdir(other)).toEqual(['data.vhd']);
  });

  it('restores a moment between points', async () => {
    const disk = await store.disk('os');
    const lsn = await disk.write(0, noise(6, MiB));
    await disk.write(0, noise(7, MiB));
    const to = stage.at('moment.qcow2');

    const report = await store.restore('vm', { disk: 'os', to, format: 'qcow2', at: { lsn } });

    expect(report.at?.lsn).toBe(lsn);
    const raw = stage.at('moment.raw');
    await run(qemuImg, 'convert', '-f', 'qcow2', '-O', 'raw', to, raw);
    expect((await readFile(raw)).subarray(0, MiB).equals(noise(6, MiB))).toBe(true);
  });

  it('works from a store that is open for reading only', async () => {
    const copy = stage.at('store-copy');
    await cp(stage.at('store'), copy, { recursive: true });
    const readOnly = await openStore({ path: copy, readOnly: true });
    const to = stage.at('read-only.qcow2');

    await readOnly.restore('vm/kept', { disk: 'os', to, format: 'qcow2' });

    await readOnly.close();
    expect(await hashOf(to)).not.toBe('');
    expect(await run(qemuImg, 'compare', '-f', 'qcow2', '-F', 'raw', to, stage.uri('vm/kept/os'))).toContain(
      'identical',
    );
    await rm(copy, { recursive: true });
  });
});

describe.skipIf(qemuImg.isMissing)('the command line', () => {
  it('imports and makes images, and leaves no disk when it is killed in the middle', { timeout: 120_000 }, async () => {
    const own = stage.at('own-store');
    await createStore({ path: own });
    const [raw, small, big] = [stage.at('cli.raw'), stage.at('cli.qcow2'), stage.at('big.qcow2')];
    await writeFile(raw, noise(11, 2 * MiB));
    await run(qemuImg, 'convert', '-f', 'raw', '-O', 'qcow2', raw, small);
    await writeFile(raw, noise(12, 256 * MiB));
    await run(qemuImg, 'convert', '-f', 'raw', '-O', 'qcow2', raw, big);
    const typed = (...words: readonly string[]): ReturnType<typeof runCommand> =>
      runCommand([...words, '--store', own, '--json']);

    for (const words of [
      ['disk', 'import', 'base', small],
      ['disk', 'import', 'bytes', small, '--format', 'raw'],
      ['vm', 'create', 'web', '--disk', `os=${small}`, '--format', 'qcow2'],
      ['capture', 'web', '--name', 'rp1'],
      ['restore', 'web/rp1', '--to', stage.at('cli.vhd'), '--format', 'vhd'],
    ]) {
      expect([words, await typed(...words)]).toMatchObject([words, { code: 0, err: '' }]);
    }
    const compared = await run(qemuImg, 'compare', '-f', 'qcow2', '-F', 'vpc', small, stage.at('cli.vhd'));
    expect(compared).toContain('identical');
    expect(codeOf(await typed('disk', 'import', 'x', small, '--format', 'vmdk'))).toBe('IMAGE_UNSUPPORTED');
    expect((await typed('restore', 'web/rp1', '--in-place', '--format', 'vhd')).code).toBe(2);

    const killed = startCommand(['disk', 'import', 'killed', big, '--store', own], {
      temporaryFolder: stage.at('tmp'),
    });
    const end = once(killed, 'close');
    // The private folder of its socket is there when qemu-img writes.
    await expect.poll(() => readdir(stage.at('tmp')), { timeout: 20_000, interval: 5 }).not.toEqual([]);
    killed.kill('SIGKILL');
    await end;
    const after = await openStore({ path: own });
    expect((await after.disks()).map(({ name }) => name).sort()).toEqual(['base', 'bytes', 'web-os']);
    expect((await after.disk('bytes')).info.sizeBytes).toBe((await readFile(small)).byteLength);
    await after.close();
  });
});
