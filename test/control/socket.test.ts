/** The control socket keeps to its bounds and its permissions, whatever its clients do. */

import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';

import { RealShell } from '../cli/real-shell.js';
import { serverOf } from '../../src/control/client.js';
import { ControlServer, type AnsweredCall } from '../../src/control/server.js';
import { commandClock } from '../../src/control/clock.js';
import { library } from '../../src/control/library.js';
import { openStore, type Store } from '../../src/index.js';
import { writeStill } from '../input/temporary.js';
import { RawClient } from './raw-client.js';
import { ServedStore } from './served-store.js';

const shell = new RealShell();
const running = new AbortController().signal;

/** Runs `use` with a served store that has a machine and two points of an image with many differences. */
async function withServed(
  use: (served: ServedStore) => Promise<void>,
  options: Parameters<typeof ServedStore.in>[1] = {},
): Promise<void> {
  await shell.done('init --chunk-size 16KiB');
  const image = join(shell.directory, 'os.raw');
  await writeStill(image, Buffer.alloc(1_048_576, 'contents'));
  await shell.done('vm create web1 --disk os=os.raw');
  const served = await ServedStore.in(shell.directory, options);
  try {
    await use(served);
  } finally {
    await served.close();
  }
}

/** Two points between which every second block of 512 bytes differs. */
async function manyExtents({ store }: ServedStore): Promise<void> {
  await (await store.capture('web1', { name: 'a' })).copied();
  const disk = await store.disk('web1-os');
  for (let at = 0; at < 1_048_576; at += 1024) await disk.write(at, Buffer.alloc(512, at / 1024));
  await (await store.capture('web1', { name: 'b' })).copied();
}

const diffRequest = { before: 'web1/a', after: 'web1/b', disk: null, diskBefore: null, granularity: 512 };

describe('the socket', () => {
  test('can be opened by its owner alone, and goes with its server', async () => {
    let path = '';
    await withServed(async ({ server }) => {
      ({ path } = server);
      expect(path).toBe(join(shell.directory, '.stillpoint/control.sock'));
      expect(lstatSync(path).isSocket()).toBe(true);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(readdirSync(join(shell.directory, '.stillpoint')).filter((name) => name.startsWith('.'))).toEqual([]);
    });
    expect(existsSync(path)).toBe(false);
  });

  test('replaces one that nobody listens on, and no file of another kind', async () => {
    await shell.done('init');
    const path = join(shell.directory, '.stillpoint/control.sock');
    const dead = createServer();
    await new Promise<void>((resolve) => dead.listen(`${path}.dead`, resolve));
    const { renameSync } = await import('node:fs');
    renameSync(`${path}.dead`, path);
    await new Promise((resolve) => dead.close(resolve));
    mkdirSync(join(shell.directory, '.stillpoint/.control-left'));
    expect(lstatSync(path).isSocket()).toBe(true);
    expect(await shell.done('list')).toMatchObject({ value: [] });

    const served = await ServedStore.in(shell.directory);
    const client = await serverOf(join(shell.directory, '.stillpoint'), running);
    expect(client?.hello).toMatchObject({ version: 1, pid: process.pid, takes: 'all' });
    client?.close();
    await served.close();
    expect(existsSync(join(shell.directory, '.stillpoint/.control-left'))).toBe(false);

    writeFileSync(path, 'mine');
    await expect(ServedStore.in(shell.directory)).rejects.toMatchObject({ code: 'IO_FAILED' });
    expect(statSync(path).size).toBe(4);
  });

  test('is reached through the open directory where its path is too long for a socket', async () => {
    const deep = join(shell.directory, 'deep'.repeat(20), 'deep'.repeat(20));
    mkdirSync(deep, { recursive: true });
    const store = join(deep, 'store');
    await shell.done(`init --store ${store}`);
    const opened = await openStore({ path: store });
    const server = await ControlServer.listen({
      store: opened,
      storePath: store,
      library,
      clock: commandClock,
      takes: 'all',
    });
    expect(lstatSync(join(store, 'control.sock')).isSocket()).toBe(true);
    expect(await shell.done(`list --store ${store}`)).toMatchObject({ readOnly: false });
    await server.close(0);
    await opened.close();
    expect(existsSync(join(store, 'control.sock'))).toBe(false);
  });

  test('is taken for none where nobody says hello, and by --read-only', async () => {
    await shell.done('init');
    const path = join(shell.directory, '.stillpoint/control.sock');
    const mute = createServer((socket) => {
      socket.on('error', () => undefined).resume();
      socket.end('{"something":"else"}\n');
    });
    await new Promise<void>((resolve) => mute.listen(path, resolve));
    expect(await shell.done('list')).toMatchObject({ readOnly: false });
    await new Promise((resolve) => mute.close(resolve));
    const served = await ServedStore.in(shell.directory);
    expect(await shell.done('list')).toMatchObject({ readOnly: false });
    expect(await shell.done('list --read-only')).toMatchObject({ readOnly: true });
    await served.close();
  });
});

describe('a server that sees other mounts', () => {
  test('is sent no command that names files', async () => {
    await shell.done('init');
    const path = join(shell.directory, '.stillpoint/control.sock');
    const hello = { version: 1, pid: 4711, storeId: '', mountNamespace: 'mnt:[1]', takes: 'all' };
    const calls: string[] = [];
    const other = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write(`${JSON.stringify({ hello })}\n`);
        socket.on('data', (bytes: Buffer) => {
          calls.push(bytes.toString());
          socket.write('{"result":{"value":[],"later":1}}\n');
        });
      });
    });
    await new Promise<void>((resolve) => other.listen(path, resolve));
    for (const line of ['disk import a os.raw', 'restore web1/a --to x.raw', 'restore web1/a --to-directory x']) {
      const { code, answer } = await shell.type(line);
      expect({ code, answer }).toMatchObject({
        code: 1,
        answer: { error: { code: 'STORE_LOCKED', context: { pid: 4711 } } },
      });
    }
    expect(calls).toEqual([]);
    // What names no files goes on, also when the server says more than this client knows.
    expect(await shell.done('list')).toEqual({ value: [], later: 1 });
    await new Promise((resolve) => other.close(resolve));
  });
});

describe('a client', () => {
  test.each([
    ['garbage', 'GET / HTTP/1.1\r\n\r\n', 'not JSON'],
    ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x0a]), 'not UTF-8'],
    ['a message of no kind', '{"hi":1}\n', 'none of'],
    ['a call before hello', '{"call":{"command":"list","request":{},"rows":false}}\n', 'first message is hello'],
    ['a version that nobody speaks', '{"hello":{"versions":[99]}}\n', 'speaks version 1'],
    ['two hellos', '{"hello":{"versions":[1]}}\n'.repeat(2), 'speaks version 1'],
    ['a line without an end', 'x'.repeat(9 * 1024 ** 2), 'longer than'],
  ])('that sends %s is told so and left, others are not', async (_what, bytes, why) => {
    await withServed(async ({ server }) => {
      const other = await RawClient.greeted(server.path);
      const client = await RawClient.to(server.path);
      client.socket.write(bytes);
      let message = await client.message();
      if (message !== null && 'hello' in message) message = await client.message();
      expect(message).toMatchObject({ error: { code: 'ARGUMENT_INVALID', message: expect.stringContaining(why) } });
      await client.ended();
      other.call('list', { machine: null });
      expect(await other.answer()).toMatchObject({ result: { value: [] } });
      other.socket.destroy();
    });
  });

  test('with a wrong request is told so, and may send another', async () => {
    await withServed(async ({ server }) => {
      const client = await RawClient.greeted(server.path);
      for (const [command, request] of [
        ['list', { machine: 1 }],
        ['constructor', {}],
        ['restore.disk', { to: 'relative' }],
      ] as const) {
        client.call(command, request);
        expect(await client.answer()).toMatchObject({ error: { code: 'ARGUMENT_INVALID' } });
      }
      client.call('vm.list', {});
      expect(await client.answer()).toMatchObject({ result: { value: [{ name: 'web1' }] } });
      client.socket.destroy();
    });
  });

  test('that sends a call during a call is left, and its call is cancelled', async () => {
    const answered: AnsweredCall[] = [];
    await withServed(
      async (served) => {
        await manyExtents(served);
        const client = await RawClient.greeted(served.server.path);
        client.socket.pause();
        client.call('diff', diffRequest, true);
        client.call('list', { machine: null });
        client.socket.resume();
        await client.ended();
        expect(answered.map(({ command }) => command)).toEqual(['diff']);
      },
      { onAnswered: (call) => answered.push(call) },
    );
  });

  test('that goes away in the middle of a call cancels it', async () => {
    const answered: AnsweredCall[] = [];
    await withServed(
      async (served) => {
        await served.store.capture('web1', { name: 'a' });
        const disk = await served.store.disk('web1-os');
        await disk.write(0, Buffer.alloc(512, 1));
        for (let round = 0; round < 50; round += 1) {
          const client = await RawClient.greeted(served.server.path);
          client.call('verify', { readData: true });
          client.socket.destroy();
        }
        while (served.server.statistics().clients > 0) await pause(5);
        expect(served.server.statistics()).toMatchObject({ running: 0 });
        expect(answered.every(({ code }) => code === null || code === 'CANCELLED')).toBe(true);
        expect(await shell.done('verify')).toMatchObject({ findings: [] });
      },
      { onAnswered: (call) => answered.push(call) },
    );
  });

  test('that reads slowly gets every extent, and holds no more of the server than a message', async () => {
    await withServed(async (served) => {
      await manyExtents(served);
      const client = await RawClient.greeted(served.server.path);
      client.socket.pause();
      client.call('diff', diffRequest, true);
      await pause(100);
      client.socket.resume();
      expect(await client.answer()).toEqual({
        header: { sizeBefore: 1_048_576, sizeAfter: 1_048_576, granularity: 512 },
      });
      const rows: unknown[] = [];
      for (;;) {
        const message = (await client.answer()) ?? {};
        if ('result' in message) break;
        rows.push(...(message['rows'] as unknown[]));
      }
      // The block of zeros among those that were written, if any, is of another kind; none is missing.
      expect(rows).toHaveLength(1024);
      expect(rows[1]).toEqual([1024, 512, 'data']);
      client.socket.destroy();
    });
  });

  test('that reads slowly holds up the search itself: little more is found than it has taken', async () => {
    await withServed(async ({ store, server }) => {
      await (await store.capture('web1', { name: 'a' })).copied();
      const count = 400_000;
      let found = 0;
      const header = { sizeBefore: count, sizeAfter: count, granularity: 512 };
      const diff: Store['diff'] = () => ({
        header: Promise.resolve(header),
        [Symbol.asyncIterator]: async function* () {
          for (; found < count; found += 1) yield { offset: found * 1024, length: 512, kind: 'data' as const };
        },
      });
      Object.assign(store, { diff });
      const client = await RawClient.greeted(server.path);
      client.socket.pause();
      client.call('diff', { ...diffRequest, after: 'web1/a' }, true);
      let before = -1;
      while (found !== before || found === 0) {
        before = found;
        await pause(100);
      }
      // What fits into the buffers of both ends and of the kernel.
      expect(found).toBeLessThan(100_000);
      client.socket.resume();
      let rows = 0;
      let message = await client.answer();
      for (; message !== null && !('result' in message); message = await client.answer()) {
        rows += ((message['rows'] ?? []) as unknown[]).length;
      }
      expect(rows).toBe(count);
      expect(message).toMatchObject({ result: { ...header, extentCount: count } });
      client.socket.destroy();
    });
  });

  test('that takes nothing for long is given up', async () => {
    await withServed(
      async (served) => {
        await served.store.updateVirtualMachine('web1', { configuration: 'x'.repeat(900_000) });
        const client = await RawClient.greeted(served.server.path);
        client.socket.pause();
        client.call('vm.list', {});
        while (served.server.statistics().clients > 0) await pause(20);
        client.socket.destroy();
      },
      { stallMs: 50 },
    );
  });

  test('of hundreds is answered like one', async () => {
    await withServed(async ({ server }) => {
      const clients = await Promise.all(Array.from({ length: 400 }, () => RawClient.greeted(server.path)));
      expect(server.statistics().clients).toBe(400);
      for (const client of clients) client.call('vm.show', { name: 'web1' });
      const answers = await Promise.all(clients.map((client) => client.answer()));
      expect(answers.filter((answer) => answer !== null && 'result' in answer)).toHaveLength(400);
      for (const { socket } of clients) socket.destroy();
      while (server.statistics().clients > 0) await pause(5);
    });
  });

  test('too many is told to come back', async () => {
    await withServed(
      async ({ server }) => {
        const first = await RawClient.greeted(server.path);
        expect(await shell.type('list')).toMatchObject({ code: 1, answer: { error: { code: 'SERVER_BUSY' } } });
        expect(server.statistics()).toEqual({ clients: 1, running: 0, refused: 1 });
        first.socket.destroy();
      },
      { clientsMax: 1 },
    );
  });
});

describe('a server that closes', () => {
  test('lets calls end that run, and tells the others that nothing was begun', async () => {
    await withServed(async (served) => {
      await manyExtents(served);
      const idle = await RawClient.greeted(served.server.path);
      const busy = await RawClient.greeted(served.server.path);
      busy.call('verify', { readData: true });
      await pause(0);
      const closing = served.server.close(10_000);
      expect(await idle.message()).toEqual({ bye: {} });
      expect(await busy.answer()).toMatchObject({ result: { findings: [] } });
      await closing;
      await Promise.all([idle.ended(), busy.ended()]);
    });
  });

  test('cancels calls that take too long', async () => {
    await withServed(async (served) => {
      await manyExtents(served);
      const client = await RawClient.greeted(served.server.path);
      client.socket.pause();
      // 1024 rows fit into the socket; what keeps this call is a copy that is not let go on.
      await served.store.updateVirtualMachine('web1', { configuration: 'x'.repeat(900_000) });
      client.call('vm.list', {});
      await pause(50);
      const startedMs = Date.now();
      await served.server.close(20);
      expect(Date.now() - startedMs).toBeLessThan(5000);
      client.socket.destroy();
    });
  });

  test('hands the command back to who can open the store', async () => {
    await withServed(async (served) => {
      const other = await serverOf(join(shell.directory, '.stillpoint'), running);
      await served.server.close(0);
      await expect(other?.call({ signal: running, onProgress: () => undefined }, 'vm.list', {})).rejects.toThrow(
        /the server (is ending|has gone)/u,
      );
    });
  });
});

test('a long command of the command line lets others look meanwhile', async () => {
  await shell.done('init');
  const image = join(shell.directory, 'os.raw');
  await writeStill(image, Buffer.alloc(1_048_576, 'contents'));
  await shell.done('vm create web1 --disk os=os.raw');
  const storePath = join(shell.directory, '.stillpoint');
  const { withStore } = await import('../../src/control/opening.js');
  let leave: () => void = () => undefined;
  const long = withStore(
    {
      library,
      storePath,
      held: null,
      readOnly: false,
      threads: 1,
      clock: commandClock,
      signal: running,
      onProgress: () => undefined,
      onReadOnlyLook: () => undefined,
      onFindings: () => undefined,
    },
    async () =>
      new Promise<void>((resolve) => {
        leave = resolve;
      }),
  );
  while (!existsSync(join(storePath, 'control.sock'))) await pause(20);
  expect(await shell.done('vm list')).toMatchObject({ readOnly: false, value: [{ name: 'web1' }] });
  expect(await shell.done('stats')).toMatchObject({ readOnly: true });
  expect((await shell.type('capture web1')).answer).toMatchObject({ error: { code: 'STORE_LOCKED' } });
  leave();
  await long;
  expect(existsSync(join(storePath, 'control.sock'))).toBe(false);
});

test('what the server cannot do is said with the code of the call in process', async () => {
  await withServed(async () => {
    const unwritable = join(shell.directory, 'unwritable');
    mkdirSync(unwritable);
    chmodSync(unwritable, 0o500);
    const { answer } = await shell.type(`restore web1/none --to ${unwritable}/x.raw`);
    expect(answer).toMatchObject({ error: { code: 'POINT_NOT_FOUND' } });
    chmodSync(unwritable, 0o700);
  });
});
