/** Stores that cannot be opened or made: not there, of a newer format, damaged, in use, not empty, not allowed. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { describe, expect, it, onTestFinished } from 'vitest';

import { createStore, openStore, type ErrorCode, type ErrorKind } from '../../src/index.js';
import { codeOf, runCommand } from './command.js';
import { changeConfigVersion } from './config-version.js';
import { leftOut, plainUser } from './rights.js';
import { digests, smallStore, stateOf, withOpen } from './small-store.js';
import { sha256, temporaryFolder } from './temporary.js';

const user = await plainUser();
const library = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

const blockBytes = 4096;

/** Expects library, writing or reading, and command to refuse a store, and not to touch one of its files. */
async function expectNotOpened(storePath: string, code: ErrorCode, kind: ErrorKind): Promise<void> {
  const before = digests(storePath);
  for (const readOnly of [false, true]) {
    await expect(openStore({ path: storePath, readOnly })).rejects.toMatchObject({ code, kind });
  }
  for (const words of [['list'], ['capture', 'web1'], ['gc']]) {
    const ended = await runCommand(['--store', storePath, '--json', ...words]);
    expect([words, codeOf(ended), ended.code, ended.out]).toEqual([words, code, 1, '']);
  }
  expect(digests(storePath)).toEqual(before);
}

describe('a store is not opened', () => {
  it('where there is none', async () => {
    const folder = temporaryFolder();
    await expectNotOpened(folder, 'STORE_NOT_FOUND', 'fix-call');
    await expect(openStore({ path: `${folder}/gone` })).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' });
  });

  it.each([[[0, 1]], [[0]], [[1]]])('of a newer format, be it in copies %j of its config', async (copies) => {
    const store = await smallStore();
    await changeConfigVersion(`${store.path}/config`, copies, 2);

    await expectNotOpened(store.path, 'STORE_NEWER_FORMAT', 'fix-call');
  });

  it('whose config is damaged in both copies', async () => {
    const store = await smallStore();
    const config = readFileSync(`${store.path}/config`);
    config.fill(0xff, 16, 32);
    config.fill(0xff, blockBytes + 16, blockBytes + 32);
    writeFileSync(`${store.path}/config`, config);

    await expectNotOpened(store.path, 'STORE_DAMAGED', 'fix-data');
  });

  it.skipIf(leftOut(user === null, 'permissions, which need a user who can read the checkout'))(
    'that belongs to somebody else',
    async () => {
      const store = await smallStore();
      const state = await stateOf(store.path);
      chmodSync(`${store.path}/config`, 0o600);
      chmodSync(store.folder, 0o755);
      if (user === undefined) chmodSync(`${store.path}/config`, 0o000);
      const options = user === undefined || user === null ? {} : { uid: user };

      const ended = await runCommand(['--store', store.path, '--json', 'list'], options);

      expect([codeOf(ended), ended.code]).toEqual(['PERMISSION_DENIED', 1]);
      chmodSync(`${store.path}/config`, 0o644);
      expect(await stateOf(store.path)).toEqual(state);
    },
  );
});

describe('a store that another process has open for writing', () => {
  it('is refused for writing, can be looked at, and is free once that process was killed', async () => {
    const store = await smallStore();
    const program = `
      const { openStore } = await import(process.argv[1]);
      const store = await openStore({ path: process.argv[2] });
      process.stdout.write('open');
      setInterval(() => store.info, 1e6);`;
    const words = ['--input-type=module', '-e', program, library, store.path];
    const holder = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void holder.kill('SIGKILL'));
    await once(holder.stdout, 'data');

    await expect(openStore({ path: store.path })).rejects.toMatchObject({ code: 'STORE_LOCKED', kind: 'retry' });
    for (const words of [['capture', 'web1'], ['delete', 'web1/first'], ['verify']]) {
      const ended = await runCommand(['--store', store.path, '--json', ...words]);
      expect([words, codeOf(ended), ended.code]).toEqual([words, 'STORE_LOCKED', 1]);
    }
    const look = await runCommand(['--store', store.path, '--json', 'list']);
    expect(JSON.parse(look.out)).toMatchObject({ readOnly: true, value: [{ name: 'first' }] });

    holder.kill('SIGKILL');
    await once(holder, 'exit');
    await withOpen(store.path, async (open) => {
      expect(open.findings).toEqual([]);
      expect(await open.restorePoints()).toHaveLength(1);
    });
  });
});

describe('a store is not made', () => {
  it('where there is one, or anything else', async () => {
    const store = await smallStore();
    const state = await stateOf(store.path);
    await expect(createStore({ path: store.path })).rejects.toMatchObject({ code: 'STORE_EXISTS', kind: 'fix-call' });
    const ended = await runCommand(['--store', store.path, '--json', 'init']);
    expect([codeOf(ended), ended.code]).toEqual(['STORE_EXISTS', 1]);
    expect(await stateOf(store.path)).toEqual(state);

    mkdirSync(store.at('taken'));
    writeFileSync(store.at('taken/letter.txt'), 'mine');
    await expect(createStore({ path: store.at('taken') })).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    expect(Object.keys(digests(store.at('taken')))).toEqual(['letter.txt']);
  });

  it('in the place of a file', async () => {
    const store = await smallStore();
    const bytes = readFileSync(store.image);
    await expect(createStore({ path: store.image })).rejects.toMatchObject({ code: 'STORE_EXISTS', kind: 'fix-call' });
    expect(sha256(readFileSync(store.image))).toBe(sha256(bytes));
  });

  it('with parameters that no store has', async () => {
    const folder = temporaryFolder();
    for (const options of [{ chunkBytes: 65537 }, { compressionLevel: 20 }, { compressionLevel: 0 }]) {
      const made = createStore({ path: `${folder}/store`, ...options });
      await expect(made).rejects.toMatchObject({ code: 'ARGUMENT_INVALID', kind: 'fix-call' });
    }
    const ended = await runCommand(['--store', `${folder}/store`, '--json', 'init', '--chunk-size', '3KiB']);
    expect([codeOf(ended), ended.code]).toEqual(['ARGUMENT_INVALID', 2]);
    await expect(openStore({ path: `${folder}/store` })).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' });
  });
});
