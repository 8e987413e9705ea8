/** A program that embeds the library lets users of the command line in: `stillpoint/control`. */

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { serveControl } from '../../src/control/index.js';
import { createStore, openStore } from '../../src/index.js';
import { Kept, Place } from '../serve/server.js';

const program = fileURLToPath(new URL('embedding-process.mjs', import.meta.url));

let place: Place;

beforeEach(async () => {
  place = new Place();
  await place.done('init');
});

afterEach(async () => {
  await place.remove();
});

/** The program, on the store of the place. */
class Embedding {
  readonly kept: Kept;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    const child = spawn(process.execPath, [program, place.store], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.kept = new Kept(child);
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  async next(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`it ended: ${this.kept.err}`);
    return value;
  }

  order(line: string): Promise<string> {
    this.kept.child.stdin?.write(`${line}\n`);
    return this.next();
  }

  async end(): Promise<unknown> {
    this.kept.child.stdin?.end();
    return (await this.kept.ended).code;
  }
}

async function embedding(): Promise<Embedding> {
  const started = new Embedding();
  expect(await started.next()).toBe('ready');
  return started;
}

describe('a program that embeds the library', () => {
  it('carries out commands of others on its store, and closes cleanly', async () => {
    const it = await embedding();
    const socket = await it.order('path');
    expect(socket).toBe(join(place.store, 'control.sock'));
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(await place.done('status')).toMatchObject({ server: { pid: it.kept.child.pid }, lockedByOther: false });
    await place.done('capture db --name one --wait');
    expect(await place.done('list db')).toMatchObject({ value: [{ reference: 'db/default/one', state: 'copied' }] });
    await place.done('delete db/one');
    expect(await place.done('list db')).toMatchObject({ value: [] });
    expect(await place.type('show db/one').ended).toMatchObject({ code: 1 });
    expect(await it.order('calls')).toBe('status ok, capture ok, list ok, delete ok, list ok, show POINT_NOT_FOUND');
    expect(await it.order('end')).toBe('ok');
    expect(await it.end()).toBe(0);
    expect(existsSync(socket)).toBe(false);
    expect(await place.done('list db')).toMatchObject({ value: [] });
  });

  it('listens once, leaves and comes back, and locks others out between', async () => {
    const it = await embedding();
    expect(await it.order('again')).toBe('TARGET_EXISTS');
    await place.done('capture db --name one');
    expect(await it.order('leave')).toBe('ok');
    const refused = await place.type('capture db --name two --json').ended;
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('STORE_LOCKED')]);
    expect(await it.order('come')).toBe('ok');
    await place.done('capture db --name two');
    expect(await it.order('leave')).toBe('ok');
    expect(await it.order('end')).toBe('ok');
    expect(await it.end()).toBe(0);
  });

  it('has a log that failed opened anew by a command, while another machine goes on', async () => {
    const it = await embedding();
    const limit = (bytes: string): void => {
      execFileSync('prlimit', ['--pid', String(it.kept.child.pid), `--fsize=${bytes}:`]);
    };
    limit('1048576'); // the log of `db` is longer than that
    expect(await it.order('write db')).not.toBe('ok');
    expect(await it.order('write db')).toBe('LOG_FENCED');
    expect(await it.order('write web')).toBe('ok');
    const failed = [{ machine: 'db', disk: null, code: 'LOG_FENCED' }];
    expect(await place.done('status')).toMatchObject({ failedLogs: failed });
    limit('unlimited');
    expect(await it.order('write db')).toBe('LOG_FENCED');
    expect((await place.type('vm list').ended).out).toMatch(/db .*unavailable: LOG_FENCED/u);
    expect(await place.done('reopen')).toEqual({ findings: [], failedLogs: [] });
    expect(await it.order('read db')).toBe('1 1 0');
    expect(await it.order('write db')).toBe('ok');
    expect(await it.order('read db')).toBe('1 1 2');
    await place.done('capture db --wait');
    expect(await it.order('end')).toBe('ok');
    expect(await it.end()).toBe(0);
    expect(await place.done('status')).toMatchObject({ failedLogs: [], findings: [] });
  });
});

describe('serveControl', () => {
  it('refuses a store that is open for reading only, one that is closed, and options that it does not know', async () => {
    const path = join(place.folder, 'own');
    await createStore({ path });
    const looking = await openStore({ path, readOnly: true });
    await expect(serveControl(looking)).rejects.toMatchObject({ code: 'STORE_READ_ONLY' });
    await looking.close();
    const store = await openStore({ path });
    await expect(serveControl(store, { clientsMax: 0 })).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    // @ts-expect-error -- a misspelt option
    await expect(serveControl(store, { clients: 1 })).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    const control = await serveControl(store);
    await expect(control.close({ graceMs: -1 })).rejects.toMatchObject({ code: 'ARGUMENT_INVALID' });
    await Promise.all([control.close(), control.close()]);
    expect(existsSync(control.path)).toBe(false);
    await store.close();
    await expect(serveControl(store)).rejects.toMatchObject({ code: 'STORE_CLOSED' });
  });
});
