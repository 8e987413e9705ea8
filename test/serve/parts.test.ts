/** What a server is made of, part by part; NBD stands in for the real one. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { commandClock } from '../../src/control/clock.js';
import { serverOf } from '../../src/control/client.js';
import type { CommandContext } from '../../src/control/context.js';
import { library, type Library } from '../../src/control/library.js';
import {
  createStore,
  openStore,
  StillpointError,
  type NbdOptions,
  type NbdServer,
  type Store,
} from '../../src/index.js';
import { activatedSockets } from '../../src/serve/activation.js';
import { openLog, recordText } from '../../src/serve/log.js';
import { watchdogMs } from '../../src/serve/notify.js';
import { serve, type Ready, type ServeOptions } from '../../src/serve/serve.js';
import { World } from '../store/world.js';

/** What `serve` is given, with a store of the test's. */
function contextOf(openAs: Library['openStore'], store: string, signal: AbortSignal): CommandContext {
  return {
    library: { ...library, openStore: openAs },
    storePath: store,
    held: null,
    readOnly: false,
    threads: 1,
    clock: commandClock,
    signal,
    onProgress: () => undefined,
    onReadOnlyLook: () => undefined,
    onFindings: () => undefined,
  };
}

describe('activatedSockets', () => {
  it('gives the descriptors by what their names say', () => {
    const environment = { LISTEN_PID: '7', LISTEN_FDS: '4', LISTEN_FDNAMES: 'nbd:stillpoint-nbd.socket:http:my-nbd' };
    expect(activatedSockets(environment, 7)).toEqual({ nbd: [3, 4, 6], http: [5] });
  });

  it('takes none that were meant for another process, or were never passed', () => {
    expect(activatedSockets({ LISTEN_PID: '8', LISTEN_FDS: '1', LISTEN_FDNAMES: 'nbd' }, 7)).toEqual({
      nbd: [],
      http: [],
    });
    expect(activatedSockets({}, 7)).toEqual({ nbd: [], http: [] });
    expect(activatedSockets({ LISTEN_PID: '7', LISTEN_FDS: 'many' }, 7)).toEqual({ nbd: [], http: [] });
  });

  it.each(['', 'unknown', 'nbdx', 'httpd', 'http:http'])('refuses the names "%s"', (names) => {
    const environment = { LISTEN_PID: '7', LISTEN_FDS: String(names.split(':').length), LISTEN_FDNAMES: names };
    expect(() => activatedSockets(environment, 7)).toThrow(expect.objectContaining({ code: 'ARGUMENT_INVALID' }));
  });
});

it('the watchdog is fed twice in its time, and only by the process that it watches', () => {
  expect(watchdogMs({ WATCHDOG_USEC: '60000000' }, 7)).toBe(30_000);
  expect(watchdogMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '8' }, 7)).toBeNull();
  expect(watchdogMs({ WATCHDOG_USEC: 'soon' }, 7)).toBeNull();
  expect(watchdogMs({}, 7)).toBeNull();
});

describe('the log', () => {
  const lines = (format: 'json' | 'text', level: 'info' | 'warn'): string[] => {
    const written: string[] = [];
    const log = openLog({
      format,
      level,
      clock: { nowMs: () => 1_795_408_094_000 },
      write: (line) => written.push(line),
    });
    log.info('call done', { command: 'list', durationMs: 3 });
    log.error('copy failed', { reason: 'no space left' });
    return written;
  };

  it('is a JSON object a line', () => {
    expect(lines('json', 'info').map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        level: 'info',
        time: '2026-11-23T04:28:14.000Z',
        pid: process.pid,
        command: 'list',
        durationMs: 3,
        msg: 'call done',
      },
      {
        level: 'error',
        time: '2026-11-23T04:28:14.000Z',
        pid: process.pid,
        reason: 'no space left',
        msg: 'copy failed',
      },
    ]);
  });

  it('is text for people, from a level on', () => {
    expect(lines('text', 'warn')).toEqual(['04:28:14 error copy failed reason="no space left"\n']);
    expect(recordText('{"level":"info","time":"2026-11-23T04:28:14.000Z","pid":1,"path":"/a","msg":"ready"}')).toBe(
      '04:28:14 info  ready path=/a\n',
    );
  });
});

describe('a server one of whose write logs fails', () => {
  it('goes on, says so everywhere, and has the log opened by a command', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-fenced-'));
    const { world, store } = await World.makeManaged();
    const { id } = await store.virtualMachine('db');
    const ending = new AbortController();
    const written: string[] = [];
    const context = contextOf(async () => store, folder, ending.signal);
    let url = '';
    const health = async (): Promise<unknown> => {
      const answer = await fetch(`${url}/healthz`);
      return [answer.status, await answer.json()];
    };
    const failed = async (): Promise<string[]> =>
      (await (await fetch(`${url}/metrics`)).text())
        .split('\n')
        .filter((line) => line.startsWith('stillpoint_write_log'));
    const messages = (): unknown[] => written.map((line) => (JSON.parse(line) as { msg: unknown }).msg);
    const options: ServeOptions = {
      nbd: { listen: [] },
      http: { host: '127.0.0.1', port: 0 },
      logFormat: 'json',
      logLevel: 'info',
      stopTimeoutMs: 0,
    };
    const check = async (): Promise<void> => {
      expect(await health()).toEqual([200, { status: 'ok' }]);
      expect(await failed()).toContain('stillpoint_write_logs_failed 0');
      world.engine.fenceLog('/stores/one', id);
      expect(await health()).toEqual([200, { status: 'degraded', failed: ['db'] }]);
      expect(await failed()).toEqual(
        expect.arrayContaining([
          'stillpoint_write_logs_failed 1',
          'stillpoint_write_log_failed{machine="db",disk="",code="LOG_FENCED"} 1',
        ]),
      );
      await expect.poll(messages, { timeout: 5000 }).toContain('a write log failed');
      const client = await serverOf(folder, ending.signal);
      const running = { signal: ending.signal, onProgress: (): void => undefined };
      expect(await client?.call(running, 'reopen', {})).toEqual({ findings: [], failedLogs: [] });
      client?.close();
      expect(await health()).toEqual([200, { status: 'ok' }]);
      await expect.poll(messages, { timeout: 5000 }).toContain('a write log is open again');
    };
    let outcome: unknown = null;
    await serve(context, options, {
      version: '0',
      environment: {},
      writeLog: (line) => written.push(line),
      onReady: async ({ http }) => {
        url = http ?? '';
        void check()
          .catch((error: unknown) => {
            outcome = error;
          })
          .finally(() => ending.abort());
      },
    });
    rmSync(folder, { recursive: true });
    expect(outcome).toBeNull();
    const record = written.find((line) => line.includes('a write log failed'));
    expect(JSON.parse(record ?? '{}')).toMatchObject({ level: 'error', machine: 'db', code: 'LOG_FENCED', logId: id });
  });
});

describe('a server with NBD', () => {
  let folder = '';
  const seen: string[] = [];

  beforeEach(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-nbd-'));
    seen.length = 0;
    await createStore({ path: path.join(folder, 'store') });
  });

  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  interface Wishes {
    readonly environment?: Record<string, string>;
    /** What becomes of the store when it is opened. */
    readonly opened?: (store: Store, ending: AbortController) => void;
    /** Done when the server is ready; by itself it ends then. */
    readonly onReady?: () => Promise<void>;
  }

  const storePath = (): string => path.join(folder, 'store');

  /** Serves with an NBD that only remembers. */
  async function served(nbd: NbdOptions, { environment = {}, opened, onReady }: Wishes = {}): Promise<Ready[]> {
    const ending = new AbortController();
    const ready: Ready[] = [];
    const serveNbd = async (options: NbdOptions): Promise<NbdServer> => {
      seen.push(JSON.stringify(options));
      return {
        addresses: [{ unix: '/run/nbd.sock' }, { host: '::1', port: 10_809 }],
        statistics: () => ({ clients: 0, refused: 0 }),
        close: async () => void seen.push('closed'),
      };
    };
    const openAs: Library['openStore'] = async (options) => {
      const store = Object.assign(await openStore(options), { serveNbd });
      opened?.(store, ending);
      return store;
    };
    const options: ServeOptions = { nbd, http: null, logFormat: 'json', logLevel: 'error', stopTimeoutMs: 0 };
    await serve(contextOf(openAs, storePath(), ending.signal), options, {
      version: '0',
      environment,
      writeLog: (line) => seen.push(line),
      onReady: async (now) => {
        ready.push(now);
        if (onReady === undefined) ending.abort();
        else void onReady();
      },
    });
    return ready;
  }

  /** The store was closed: it can be opened again. */
  async function expectFree(): Promise<void> {
    await (await openStore({ path: storePath() })).close();
  }

  it('is given all addresses and options, and closed before the store', async () => {
    const nbd = { listen: [{ unix: '/a' }], clientsMax: 4, tls: { certificate: 'c', key: 'k' }, allowPlainTcp: false };
    const environment = { LISTEN_PID: String(process.pid), LISTEN_FDS: '1', LISTEN_FDNAMES: 'nbd' };
    const [ready] = await served(nbd, { environment });
    expect(ready?.nbd).toEqual(['unix:/run/nbd.sock', 'tcp:[::1]:10809']);
    expect(seen).toEqual([JSON.stringify({ ...nbd, listen: [{ unix: '/a' }, { fd: 3 }] }), 'closed']);
    await expectFree();
  });

  it('starts none where nothing is to be listened on', async () => {
    expect((await served({ listen: [] }))[0]?.nbd).toEqual([]);
    expect(seen).toEqual([]);
  });

  it('that cannot start gives the store back', async () => {
    const refusing = served(
      { listen: [{ unix: '/a' }] },
      {
        opened: (store) =>
          Object.assign(store, { serveNbd: () => Promise.reject(new StillpointError('ARGUMENT_INVALID', 'taken')) }),
      },
    );
    await expect(refusing).rejects.toThrow('taken');
    await expectFree();
  });

  it('that is asked to end while the store is opened never says that it is ready', async () => {
    expect(await served({ listen: [{ unix: '/a' }] }, { opened: (_store, ending) => ending.abort() })).toEqual([]);
    expect(seen).toEqual([]);
    await expectFree();
  });

  it('ends with STORE_FENCED when a call met that, so that the store is opened again', async () => {
    const fenced = new StillpointError('STORE_FENCED', 'a write failed');
    const running = { signal: new AbortController().signal, onProgress: (): void => undefined };
    const codes: unknown[] = [];
    const ending = served(
      { listen: [] },
      {
        opened: (store) => Object.assign(store, { collect: () => Promise.reject(fenced) }),
        onReady: async () => {
          const client = await serverOf(storePath(), running.signal);
          await client?.call(running, 'gc', { dryRun: false }).catch((error: unknown) => codes.push(error));
          client?.close();
        },
      },
    );
    await expect(ending).rejects.toMatchObject({ code: 'STORE_FENCED', context: { path: storePath() } });
    expect(codes).toMatchObject([{ code: 'STORE_FENCED', message: 'a write failed' }]);
    await expectFree();
  });
});
