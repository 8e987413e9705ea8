/** What each command does and prints, beyond the examples of docs/cli.md. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeUser, userWithPoints, type Ran } from './fake-shell.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'stillpoint-test-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

function json(ran: Ran): Record<string, unknown> {
  expect(ran).toMatchObject({ code: 0, err: '' });
  expect(ran.out.endsWith('}\n')).toBe(true);
  expect(ran.out.trimEnd()).not.toContain('\n');
  return JSON.parse(ran.out) as Record<string, unknown>;
}

describe('the store', () => {
  test('is --store, or STILLPOINT_STORE, or ./.stillpoint', async () => {
    const user = new FakeUser();
    await user.type('init --store here', { environment: { STILLPOINT_STORE: '/env' } });
    await user.type('init', { environment: { STILLPOINT_STORE: '/env' } });
    await user.type('init', { environment: { STILLPOINT_STORE: '' } });
    await user.type('--store=there init', { environment: {} });
    expect([...user.world.stores.keys()]).toEqual(['/data/here', '/env', '/data/.stillpoint', '/data/there']);
  });

  test('is made with the chosen chunks', async () => {
    const user = new FakeUser();
    const { info } = json(await user.type('init --chunk-size 1048576 --compression zstd --level 19 --json'));
    expect(info).toMatchObject({ chunkBytes: 1_048_576, compression: 'zstd', compressionLevel: 19 });
    const { out } = await user.type('--store other init --compression lz4');
    expect(out).toMatch(/compression +lz4$/m);
  });

  test('is closed after every command, also after one that fails', async () => {
    const user = await userWithPoints();
    for (const line of [
      'list',
      'show nobody',
      'diff web1/rp1 web1/rp2 --disk os',
      'diff web1/rp1 web1/rp2 --disk no',
    ]) {
      await user.type(line);
      expect(user.world.openCount, line).toBe(0);
    }
  });

  test('that is there is not made again', async () => {
    const user = await userWithPoints();
    expect(await user.type('init')).toMatchObject({ code: 1, out: '' });
  });

  test('is opened with the threads asked for, and not at all for help', async () => {
    const user = await userWithPoints();
    user.world.openings.length = 0;
    await user.type('capture --help');
    await user.type('completion bash');
    expect(user.world.openings).toEqual([]);
    await user.type('--threads 3 list');
    expect(user.world.threads).toBe(3);
    await user.type('list');
    expect(user.world.threads).toBeNull();
  });
});

describe('a store that another process has open', () => {
  test.each(['status', 'stats', 'list', 'show web1', 'show web1/rp1', 'vm list', 'vm show web1'])(
    '%s looks without the lock and says so',
    async (line) => {
      const user = await userWithPoints();
      user.world.locked.add('/backup/store');
      user.world.openings.length = 0;
      const plain = await user.type(line);
      expect(plain.code).toBe(0);
      expect(plain.err).toBe('note: another process has the store open for writing; this was a read-only look\n');
      expect(user.world.openings).toEqual(['/backup/store', '/backup/store (read-only)']);
      expect(json(await user.type(`${line} --json`))).toMatchObject({ readOnly: true });
      expect((await user.type(`${line} --quiet`)).err).toBe('');
    },
  );

  test.each(['capture web1', 'verify', 'gc', 'delete web1/rp1', 'restore web1/rp1 --disk os --to a.raw'])(
    '%s fails with STORE_LOCKED',
    async (line) => {
      const user = await userWithPoints();
      user.world.locked.add('/backup/store');
      const { code, err } = await user.type(line);
      expect(code).toBe(1);
      expect(err).toContain('(STORE_LOCKED)');
    },
  );

  test('can be restored from with --read-only, but not changed', async () => {
    const user = await userWithPoints();
    user.world.locked.add('/backup/store');
    expect(await user.type('restore web1/rp1 --disk os --to a.raw --read-only')).toMatchObject({ code: 0, err: '' });
    expect((await user.type('--read-only capture web1')).err).toContain('(STORE_READ_ONLY)');
  });

  test('tells of it in status', async () => {
    const user = await userWithPoints();
    user.world.locked.add('/backup/store');
    const { out } = await user.type('status');
    expect(out).toContain('read-only: another process has the store open for writing');
  });
});

describe('a store that cannot be written', () => {
  test.each(['status', 'stats', 'list', 'show web1/rp1', 'vm list'])(
    '%s looks without the lock and says so',
    async (line) => {
      const user = await userWithPoints();
      user.world.unwritable.add('/backup/store');
      const plain = await user.type(line);
      expect(plain).toMatchObject({
        code: 0,
        err: 'note: the store cannot be written here; this was a read-only look\n',
      });
      expect(plain.out).not.toContain('another process');
      expect(json(await user.type(`${line} --json`))).toMatchObject({ readOnly: true });
    },
  );

  test('is not changed, and the error says how it can be read', async () => {
    const user = await userWithPoints();
    user.world.unwritable.add('/backup/store');
    const { code, err } = await user.type('restore web1/rp1 --disk os --to a.raw');
    expect(code).toBe(1);
    expect(err).toContain('(PERMISSION_DENIED)');
    expect(err).toContain('--read-only');
  });
});

describe('a machine whose images are not what one would expect', () => {
  test('is created, with a remark about each', async () => {
    const user = await userWithPoints();
    user.world.imageKinds.set('/images/gone.raw', 'missing').set('/images/c.img', 'qcow2');
    const line = 'vm create web2 --external os=/images/gone.raw --external data=/images/c.img';
    const { code, err } = await user.type(line);
    expect(code).toBe(0);
    expect(err).toContain('note: /images/gone.raw does not exist yet; a capture fails until it does\n');
    expect(err).toContain('note: /images/c.img is a qcow2 image; it is captured as the file that it is');
    const again = await user.type('vm update web2 --external data=/images/gone.raw');
    expect(again.err).toBe('note: /images/gone.raw does not exist yet; a capture fails until it does\n');
  });

  test('is created without a word in JSON and with --quiet', async () => {
    const user = await userWithPoints();
    user.world.imageKinds.set('/images/gone.raw', 'missing');
    expect((await user.type('vm create a --external os=/images/gone.raw --quiet')).err).toBe('');
    expect((await user.type('vm create b --external os=/images/gone.raw --json')).err).toBe('');
  });
});

describe('what opening a store found', () => {
  test('is noted for people, kept from programs, and in status', async () => {
    const user = await userWithPoints();
    user.world.findings = [
      { file: 'home/index/list', offset: null, length: null, code: 'STORE_DAMAGED', message: 'was rebuilt' },
    ];
    expect((await user.type('list')).err).toBe('note: home/index/list: was rebuilt (STORE_DAMAGED)\n');
    expect((await user.type('list --json')).err).toBe('');
    expect((await user.type('list --quiet')).err).toBe('');
    expect(json(await user.type('status --json'))).toMatchObject({ findings: [{ file: 'home/index/list' }] });
  });
});

describe('vm', () => {
  test('create makes paths absolute and reads the configuration', async () => {
    const user = await userWithPoints();
    writeFileSync(join(directory, 'vm.json'), '{"vcpus":2}');
    const ran = await user.type('vm create web2 --external os=os.raw --config vm.json --json', {
      workingDirectory: directory,
    });
    expect(json(ran)).toMatchObject({
      configuration: { vcpus: 2 },
      disks: [{ role: 'os', source: join(directory, 'os.raw'), sectorBytes: 512 }],
    });
    expect((await user.type('vm show web2')).out).toContain('configuration   {"vcpus":2}');
  });

  test('create refuses a configuration that is not JSON', async () => {
    const user = await userWithPoints();
    writeFileSync(join(directory, 'vm.json'), '{vcpus}');
    const { code, err } = await user.type('vm create web2 --external os=os.raw --config vm.json', {
      workingDirectory: directory,
    });
    expect(code).toBe(2);
    expect(err).toContain('is not JSON');
  });

  test('update adds disks, moves those that are there, and removes others', async () => {
    const user = await userWithPoints();
    const line =
      'vm update web1 --external log=/images/log.raw --external os=/new/os.raw --remove-disk data --sector 4096 --json';
    const { disks } = json(await user.type(line));
    expect(disks).toMatchObject([
      { role: 'os', source: '/new/os.raw', sectorBytes: 512 },
      { role: 'log', source: '/images/log.raw', sectorBytes: 4096 },
    ]);
  });

  test('update gives the role of a removed disk to a new one', async () => {
    const user = await userWithPoints();
    const before = json(await user.type('vm show web1 --json')) as { disks: { id: string }[] };
    const line = 'vm update web1 --remove-disk data --external data=/images/other.raw --json';
    const after = json(await user.type(line)) as { disks: { id: string; source: string }[] };
    expect(after.disks[1]).toMatchObject({ source: '/images/other.raw' });
    expect(after.disks[1]?.id).not.toBe(before.disks[1]?.id);
  });

  test('delete fails while there are points, and names the machine as it is kept', async () => {
    const user = await userWithPoints();
    expect((await user.type('vm delete web1')).err).toContain('(MACHINE_NOT_EMPTY)');
    await user.type('delete web1/rp1 web1/rp2');
    expect(json(await user.type('vm delete WEB1 --json'))).toEqual({ deleted: ['web1'] });
  });

  test('list of an empty store prints a note alone', async () => {
    const user = new FakeUser();
    await user.type('init');
    expect(await user.type('vm list')).toEqual({ code: 0, out: '', err: 'note: the store has no machines\n' });
    expect(json(await user.type('vm list --json'))).toEqual({ value: [], readOnly: false });
  });
});

describe('list and show', () => {
  test('have the library’s fields', async () => {
    const user = await userWithPoints();
    const { value } = json(await user.type('list web1 --json')) as { value: { reference: string }[] };
    expect(value.map((point) => point.reference)).toEqual(['web1/default/rp1', 'web1/default/rp2']);
    const shown = json(await user.type('show web1/rp2 --json'));
    expect(shown).toEqual({ ...value[1], readOnly: false });
  });

  test('of nothing print a note alone', async () => {
    const user = await userWithPoints();
    await user.type('vm create web2 --external os=/images/os.raw');
    expect(await user.type('list web2')).toEqual({ code: 0, out: '', err: 'note: web2 has no restore points\n' });
  });
});

describe('restore', () => {
  test('--to-directory makes a file for each captured disk in a directory that it makes', async () => {
    const user = await userWithPoints();
    writeFileSync(join(directory, 'os.img'), 'boot');
    writeFileSync(join(directory, 'data.img'), 'rows');
    await user.type('vm create web2 --external os=os.img --external data=data.img --external tmp=os.img', {
      workingDirectory: directory,
    });
    await user.type('capture web2 --name rp1 --exclude tmp');
    const ran = await user.type('restore web2/rp1 --to-directory a/b --json', { workingDirectory: directory });
    expect(json(ran)).toMatchObject({
      point: 'web2/default/rp1',
      disks: [
        { disk: 'os', to: join(directory, 'a/b/os.raw'), sizeBytes: 4, bytesWritten: 4 },
        { disk: 'data', to: join(directory, 'a/b/data.raw') },
      ],
    });
    expect(readFileSync(join(directory, 'a/b/data.raw'), 'utf8')).toBe('rows');
    expect(existsSync(join(directory, 'a/b/tmp.raw'))).toBe(false);
    const one = await user.type('restore web2/rp1 --disk data --to-directory c --json', {
      workingDirectory: directory,
    });
    expect(json(one)).toMatchObject({ disks: [{ disk: 'data', to: join(directory, 'c/data.raw') }] });
    const images = await user.type('restore web2/rp1 --to-directory d --format vhdx --json', {
      workingDirectory: directory,
    });
    expect(json(images)).toMatchObject({
      disks: [{ to: join(directory, 'd/os.vhdx') }, { to: join(directory, 'd/data.vhdx') }],
    });
    expect(existsSync(join(directory, 'c/os.raw'))).toBe(false);
  });

  test('needs no --disk where the point has one', async () => {
    const user = await userWithPoints();
    await user.type('capture web1 --name small --exclude data');
    expect(json(await user.type('restore web1/small --to a.raw --json'))).toMatchObject({ disks: [{ disk: 'os' }] });
    expect((await user.type('diff web1/rp1 web1/small --summary')).code).toBe(0);
  });

  test('does not overwrite unless it is asked to', async () => {
    const user = await userWithPoints();
    await user.type('restore web1/rp1 --disk os --to a.raw');
    expect((await user.type('restore web1/rp1 --disk os --to a.raw')).err).toContain('(TARGET_EXISTS)');
    expect((await user.type('restore web1/rp1 --disk os --to a.raw --overwrite')).code).toBe(0);
  });
});

describe('delete', () => {
  test('deletes nothing when one of the names is wrong', async () => {
    const user = await userWithPoints();
    const { code, out } = await user.type('delete web1/rp1 web1/rp9');
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect((await user.type('list')).out).toContain('web1/default/rp1');
  });

  test('takes a point that is named twice once', async () => {
    const user = await userWithPoints();
    expect(json(await user.type('delete web1/rp1 web1/default/RP1 --json'))).toEqual({ deleted: ['web1/default/rp1'] });
  });
});

describe('verify', () => {
  test('that finds damage names what it hits and ends with 1', async () => {
    const user = await userWithPoints();
    user.world.findings = [
      {
        file: 'home/packs/00ab.chunks',
        offset: 8192,
        length: 512,
        code: 'CHUNK_DAMAGED',
        message: 'the bytes of a chunk are not those of its id',
      },
    ];
    const plain = await user.type('verify --read-data --quiet');
    expect(plain.code).toBe(1);
    expect(plain.out).toMatchInlineSnapshot(`
      "damaged: 1 finding (2 points, 41,287 chunks, 860.2 MiB read)
        CHUNK_DAMAGED home/packs/00ab.chunks at 8,192: the bytes of a chunk are not those of its id
          hits web1/default/rp1, disk os: 64.0 KiB in 1 range, from offset 1,048,576
      "
    `);
    const ran = await user.type('verify --read-data --json');
    expect(ran.code).toBe(1);
    expect(JSON.parse(ran.out)).toMatchObject({ findings: [{ code: 'CHUNK_DAMAGED' }] });
  });
});

describe('diff', () => {
  test('of equal points prints the sums alone, and an object without extents', async () => {
    const user = await userWithPoints();
    const plain = await user.type('diff web1/rp1 web1/rp1 --disk os');
    expect(plain.out).toBe('0 extents, 0 B of 8.0 GiB (0 B data, 0 B zero), granularity 64 KiB\n');
    const { extents } = json(await user.type('diff web1/rp1 web1/rp1 --disk os --json'));
    expect(extents).toEqual([]);
  });

  test('names the disk of the older point by --disk-before', async () => {
    const user = await userWithPoints();
    const ran = await user.type('diff web1/rp1 web1/rp2 --disk os --disk-before data --summary --json');
    expect(json(ran)).toMatchObject({ sizeBefore: 4 * 1024 ** 3, sizeAfter: 8 * 1024 ** 3 });
  });

  test('that fails on its way says so by its exit code', async () => {
    const user = await userWithPoints();
    user.world.extents = (function* () {
      yield { offset: 0, length: 65_536, kind: 'data' as const };
      throw new Error('the disk fell off');
    })();
    const { code, err } = await user.type('diff web1/rp1 web1/rp2 --disk os --json');
    expect(code).toBe(1);
    expect(JSON.parse(err)).toMatchObject({ error: { message: 'the disk fell off' } });
  });
});

describe('portable-restore', () => {
  test('needs no engine and tells what is damaged', async () => {
    const user = await userWithPoints();
    user.world.openings.length = 0;
    user.world.findings = [
      { file: 'home/manifests/1.manifest', offset: null, length: null, code: '', message: 'is cut off' },
    ];
    const ran = await user.type('portable-restore WEB1/rp1 --disk os --to a.raw');
    expect(ran).toMatchObject({ code: 0, err: 'note: home/manifests/1.manifest: is cut off (MANIFEST_DAMAGED)\n' });
    expect(ran.out).toContain('restored web1/default/rp1');
    expect(user.world.openings).toEqual([]);
  });
});
