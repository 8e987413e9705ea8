/** Targets that a restore must refuse, and what is there afterwards: exactly what was there before. */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';

import { describe, expect, it } from 'vitest';

import type { RestoreOptions } from '../../src/index.js';
import { codeOf, runCommand } from './command.js';
import { expectRefusal, type Attempt } from './refusal.js';
import { leftOut, plainUser } from './rights.js';
import { diskBytes, smallStore, withOpen, type SmallStore } from './small-store.js';
import { noise, sha256 } from './temporary.js';

const user = await plainUser();

function restoreTo(to: string, options: Partial<RestoreOptions> = {}): Attempt {
  const overwrite = options.overwrite === true ? ['--overwrite'] : [];
  return {
    call: (store) => store.restore('web1/first', { disk: 'os', to, ...options }),
    words: ['restore', 'web1/first', '--disk', 'os', '--to', to, ...overwrite],
  };
}

type Prepare = (store: SmallStore, target: string) => void;

const refused: readonly [string, Prepare, boolean, 'TARGET_EXISTS' | 'TARGET_INVALID' | 'TARGET_TOO_SMALL'][] = [
  ['a file that exists', (_, to) => writeFileSync(to, 'mine'), false, 'TARGET_EXISTS'],
  ['a link to nothing', ({ at }, to) => symlinkSync(at('gone'), to), false, 'TARGET_EXISTS'],
  ['a directory', (_, to) => mkdirSync(to), false, 'TARGET_INVALID'],
  ['a directory, to be written over', (_, to) => mkdirSync(to), true, 'TARGET_INVALID'],
  ['a FIFO, to be written over', (_, to) => execFileSync('mkfifo', [to]), true, 'TARGET_INVALID'],
  ['a character device, to be written over', (_, to) => symlinkSync('/dev/null', to), true, 'TARGET_INVALID'],
  ['a smaller file, to be written over', (_, to) => writeFileSync(to, noise(5, 4096)), true, 'TARGET_TOO_SMALL'],
  ['an empty file, to be written over', (_, to) => writeFileSync(to, ''), true, 'TARGET_TOO_SMALL'],
];

describe('a restore is refused and nothing changes when its target is', () => {
  it.each(refused)('%s', async (_what, prepare, overwrite, code) => {
    const store = await smallStore();
    const target = store.at('target');
    prepare(store, target);
    const names = readdirSync(store.folder).sort();
    const isFile = statSync(target, { throwIfNoEntry: false })?.isFile() === true;
    const bytes = isFile ? readFileSync(target) : null;

    await expectRefusal(store, { code, kind: 'fix-call' }, restoreTo(target, { overwrite }));

    expect(readdirSync(store.folder).sort()).toEqual(names);
    if (bytes !== null) expect(sha256(readFileSync(target))).toBe(sha256(bytes));
  });

  it.each([
    ['in a folder that does not exist', 'no/such/target.raw'],
    ['in a folder that is a file', 'os.raw/target.raw'],
  ])('%s', async (_what, name) => {
    const store = await smallStore();

    await expectRefusal(store, { code: 'TARGET_INVALID', kind: 'fix-call' }, restoreTo(store.at(name)));
    expect(readdirSync(store.folder).sort()).toEqual(['os.raw', 'store']);
  });

  it.skipIf(leftOut(user === null, 'permissions, which need a user who can read the checkout'))(
    'in a folder that may not be written to, or a file that may not be',
    async () => {
      const store = await smallStore();
      const options = user === undefined || user === null ? {} : { uid: user };
      chmodSync(store.folder, 0o755);
      mkdirSync(store.at('closed'), { mode: 0o555 });
      writeFileSync(store.at('theirs.raw'), noise(6, diskBytes), { mode: 0o444 });
      if (user !== undefined && user !== null) execFileSync('chown', ['-R', String(user), store.path]);
      const restore = ['--store', store.path, '--json', 'restore', 'web1/first', '--to'];

      const inFolder = await runCommand([...restore, store.at('closed/target.raw')], options);
      const overFile = await runCommand([...restore, store.at('theirs.raw'), '--overwrite'], options);

      expect([codeOf(inFolder), inFolder.code]).toEqual(['PERMISSION_DENIED', 1]);
      expect([codeOf(overFile), overFile.code]).toEqual(['PERMISSION_DENIED', 1]);
      expect(readdirSync(store.at('closed'))).toEqual([]);
      expect(sha256(readFileSync(store.at('theirs.raw')))).toBe(sha256(noise(6, diskBytes)));
    },
  );
});

describe('a restore', () => {
  it('writes over a larger file and leaves exactly the disk', async () => {
    const store = await smallStore();
    const target = store.at('target.raw');
    writeFileSync(target, noise(7, diskBytes + 4096));

    const { code } = await runCommand(['--store', store.path, 'restore', 'web1/first', '--to', target, '--overwrite']);

    expect(code).toBe(0);
    expect(sha256(readFileSync(target))).toBe(sha256(readFileSync(store.image)));
  });

  it('takes a name as long as the file system allows', async () => {
    const store = await smallStore();
    const target = store.at(`${'n'.repeat(251)}.raw`);

    await withOpen(store.path, (open) => open.restore('web1/first', { disk: 'os', to: target }));

    expect(sha256(readFileSync(target))).toBe(sha256(readFileSync(store.image)));
  });

  it('with an excluded disk, or without naming one of several, is refused and makes nothing', async () => {
    const store = await smallStore();
    await withOpen(store.path, async (open) => {
      await open.updateVirtualMachine('web1', { addDisks: [{ role: 'data', external: store.image }] });
      await open.capture('web1', { name: 'second', exclude: ['data'] });
      await open.capture('web1', { name: 'third' });
    });
    const target = store.at('target.raw');

    await expectRefusal(
      store,
      { code: 'DISK_NOT_FOUND', kind: 'fix-call' },
      {
        call: (open) => open.restore('web1/second', { disk: 'data', to: target }),
        words: ['restore', 'web1/second', '--disk', 'data', '--to', target],
      },
    );
    const ended = await runCommand(['--store', store.path, '--json', 'restore', 'web1/third', '--to', target]);
    expect([codeOf(ended), ended.code]).toEqual(['ARGUMENT_INVALID', 2]);
    expect(existsSync(target)).toBe(false);
  });

  it('whose image is long gone gives it back', async () => {
    const store = await smallStore();
    const bytes = readFileSync(store.image);
    unlinkSync(store.image);

    await withOpen(store.path, (open) => open.restore('web1/first', { disk: 'os', to: store.image }));

    expect(sha256(readFileSync(store.image))).toBe(sha256(bytes));
  });
});
