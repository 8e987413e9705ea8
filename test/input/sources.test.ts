/** Images that a capture must refuse: each gives its code, and the store stays as it was. */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, symlinkSync, unlinkSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { once } from 'node:events';

import { describe, expect, it, onTestFinished } from 'vitest';

import { codeOf, runCommand } from './command.js';
import { expectRefusal, type Attempt } from './refusal.js';
import { leftOut, plainUser } from './rights.js';
import { digests, smallStore, withOpen, type SmallStore } from './small-store.js';
import { still, writeStill } from './temporary.js';

const capture: Attempt = { call: (store) => store.capture('web1'), words: ['capture', 'web1'] };

const user = await plainUser();

/** A socket that listens at a path, closed with the test. */
async function listenAt(file: string): Promise<Server> {
  const server = createServer();
  onTestFinished(async () => {
    server.close();
    await once(server, 'close');
  });
  server.listen(file);
  await once(server, 'listening');
  return server;
}

/** Puts something in the place of the image. */
type Replace = (store: SmallStore) => unknown;

const replacements: readonly [string, Replace, 'SOURCE_NOT_FOUND' | 'SOURCE_NOT_A_DISK' | 'SOURCE_SIZE_INVALID'][] = [
  ['that is missing', () => undefined, 'SOURCE_NOT_FOUND'],
  ['that is a link to nothing', ({ image, at }) => symlinkSync(at('gone'), image), 'SOURCE_NOT_FOUND'],
  ['below a file', () => undefined, 'SOURCE_NOT_FOUND'],
  ['that is a directory', ({ image }) => mkdirSync(image), 'SOURCE_NOT_A_DISK'],
  ['that is a link to a directory', ({ image, folder }) => symlinkSync(folder, image), 'SOURCE_NOT_A_DISK'],
  ['that is a FIFO', ({ image }) => execFileSync('mkfifo', [image]), 'SOURCE_NOT_A_DISK'],
  ['that is a socket', ({ image }) => listenAt(image), 'SOURCE_NOT_A_DISK'],
  ['that is a character device', ({ image }) => symlinkSync('/dev/zero', image), 'SOURCE_NOT_A_DISK'],
  ['that is empty', ({ image }) => writeStill(image, new Uint8Array(0)), 'SOURCE_SIZE_INVALID'],
  ['that is cut off within a sector', ({ image }) => writeStill(image, new Uint8Array(511)), 'SOURCE_SIZE_INVALID'],
  ['with a byte too many', ({ image }) => writeStill(image, new Uint8Array(1025)), 'SOURCE_SIZE_INVALID'],
];

describe('a capture of an image', () => {
  it.each(replacements)('%s is refused', async (what, replace, code) => {
    const store = await smallStore();
    if (what === 'below a file') {
      const external = `${store.image}/disk.raw`;
      await withOpen(store.path, (open) => open.updateVirtualMachine('web1', { paths: { os: external } }));
    } else {
      unlinkSync(store.image);
      await replace(store);
    }

    await expectRefusal(store, { code, kind: 'fix-call' }, capture);
  });

  it('whose length is no whole number of its own sectors of 4096 bytes is refused', async () => {
    const store = await smallStore();
    await writeStill(store.at('log.raw'), new Uint8Array(4096 + 512).fill(1));
    await withOpen(store.path, (open) =>
      open.updateVirtualMachine('web1', {
        addDisks: [{ role: 'log', external: store.at('log.raw'), sectorBytes: 4096 }],
      }),
    );

    await expectRefusal(store, { code: 'SOURCE_SIZE_INVALID', kind: 'fix-call' }, capture);
  });

  it.skipIf(leftOut(user === null, 'permissions, which need a user who can read the checkout'))(
    'that may not be read is refused, and goes on to be once it may',
    async () => {
      const store = await smallStore();
      chmodSync(store.image, 0o000);
      chmodSync(store.folder, 0o755);
      if (user !== undefined && user !== null) execFileSync('chown', ['-R', String(user), store.path]);
      const options = user === undefined || user === null ? {} : { uid: user };
      const before = digests(`${store.path}/home`);

      const ended = await runCommand(['--store', store.path, 'capture', 'web1', '--json'], options);

      expect([codeOf(ended), ended.code]).toEqual(['PERMISSION_DENIED', 1]);
      expect(digests(`${store.path}/home`)).toEqual(before);
      const listed = await runCommand(['--store', store.path, 'verify', '--read-data', '--json'], options);
      expect(JSON.parse(listed.out)).toMatchObject({ findings: [], pointsChecked: 1 });
      chmodSync(store.image, 0o444);
      await still(store.image);
      expect((await runCommand(['--store', store.path, 'capture', 'web1'], options)).code).toBe(0);
    },
  );
});

describe('one bad image among several', () => {
  it('refuses the whole capture, and excluding it captures the others', async () => {
    const store = await smallStore();
    await withOpen(store.path, (open) =>
      open.updateVirtualMachine('web1', { addDisks: [{ role: 'data', external: store.at('data.raw') }] }),
    );

    await expectRefusal(store, { code: 'SOURCE_NOT_FOUND', kind: 'fix-call' }, capture);
    const ended = await runCommand(['--store', store.path, 'capture', 'web1', '--exclude', 'data']);
    expect(ended.code).toBe(0);
  });
});
