/** `stillpoint serve`: starts, carries out commands, and stops, whatever happens to it. */

import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { RawClient } from '../control/raw-client.js';
import { codeOf } from '../input/command.js';
import { Place } from './server.js';

let place: Place;

beforeEach(async () => {
  place = new Place();
  await place.make();
});

afterEach(async () => {
  await place.remove();
});

describe('a server', () => {
  it('says where it serves, carries out commands, and ends with 0', async () => {
    const server = await place.serve();
    const control = `${place.store}/control.sock`;
    expect(server.ready).toEqual({ path: place.store, pid: server.child.pid, control, nbd: [], http: null });
    expect(lstatSync(control).mode & 0o777).toBe(0o600);

    expect(await place.done('vm list')).toMatchObject({ readOnly: false, value: [{ name: 'web1' }] });
    expect(await place.done('capture web1 --name one --wait')).toMatchObject({ state: 'copied' });
    expect(await place.done('restore web1/one --to back.raw')).toMatchObject({ disks: [{ to: place.at('back.raw') }] });
    expect(readFileSync(place.at('back.raw')).equals(readFileSync(place.at('os.raw')))).toBe(true);
    expect(await place.done('status')).toMatchObject({ server: { pid: server.child.pid }, lockedByOther: false });
    const twice = await place.type('restore web1/one --to back.raw --json').ended;
    expect([twice.code, codeOf(twice)]).toEqual([1, 'TARGET_EXISTS']);
    const wrong = await place.type('diff web1/one web1/two --json').ended;
    expect([wrong.code, codeOf(wrong)]).toEqual([1, 'POINT_NOT_FOUND']);

    server.child.kill('SIGTERM');
    expect(await server.ended).toMatchObject({ code: 0, signal: null });
    expect(existsSync(control)).toBe(false);
    const messages = server.records.map(({ msg }) => msg);
    expect(messages).toContain('point copied');
    expect(messages.filter((message) => message !== 'point copied')).toEqual([
      ...['opening the store', 'ready', 'call done', 'call done'],
      ...['call failed', 'call failed', 'stopping', 'stopped'],
    ]);
    expect(server.records.find(({ msg }) => msg === 'call failed')).toMatchObject({
      level: 'info',
      command: 'restore.disk',
      code: 'TARGET_EXISTS',
    });
    expect(await place.done('status')).toMatchObject({ server: null, points: 1 });
  });

  it('has the store for itself: a second one ends with STORE_LOCKED, and the first goes on', async () => {
    await place.serve();
    const second = await place.type('serve --json').ended;
    expect([second.code, codeOf(second), second.out]).toEqual([1, 'STORE_LOCKED', '']);
    expect(await place.done('vm list')).toMatchObject({ readOnly: false });
  });

  it('that is killed leaves a socket that is in nobody’s way', async () => {
    const server = await place.serve();
    server.child.kill('SIGKILL');
    await server.ended;
    expect(lstatSync(`${place.store}/control.sock`).isSocket()).toBe(true);
    expect(await place.done('capture web1 --name one')).toMatchObject({ name: 'one' });
    const next = await place.serve();
    expect(await place.done('status')).toMatchObject({ server: { pid: next.child.pid }, points: 1 });
  });

  it('that is killed in the middle of a command loses that command, which says so', async () => {
    const server = await place.serve();
    await place.done('capture web1 --name one');
    const client = await RawClient.greeted(server.ready.control);
    const command = place.type('status --watch --interval 1 --json');
    await command.until(() => (command.out.includes('\n') ? true : null));
    const lines = command.out.split('\n').length;
    server.child.kill('SIGKILL');
    expect(await client.message()).toBeNull();
    // The one that watches goes on looking by itself.
    await command.until(() => (command.out.split('\n').length > lines + 1 ? true : null));
    expect(JSON.parse(command.out.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({ readOnly: true, server: null });
    command.child.kill('SIGINT');
    expect(await command.ended).toMatchObject({ code: 0, err: '' });
  });

  it('that is asked to end under load answers or cancels each command, and leaves a sound store', async () => {
    const server = await place.serve('--stop-timeout 1');
    const commands = Array.from({ length: 8 }, (_each, index) =>
      place.type(index % 2 === 0 ? `capture web1 --name p${index} --wait --json` : 'verify --read-data --json'),
    );
    await server.record('call done');
    server.child.kill('SIGTERM');
    expect(await server.ended).toMatchObject({ code: 0, signal: null });
    const ends = await Promise.all(commands.map(({ ended }) => ended));
    const allowed = ['CANCELLED', 'CAPTURE_IN_PROGRESS', 'STORE_LOCKED', 'SERVER_LOST'];
    for (const end of ends) if (end.code !== 0) expect(allowed).toContain(codeOf(end));
    expect(await place.done('verify --read-data')).toMatchObject({ findings: [] });
  });

  it('ends at once by a second signal', async () => {
    const server = await place.serve('--stop-timeout 3600');
    const client = await RawClient.greeted(server.ready.control);
    client.socket.pause();
    const configuration = 'x'.repeat(900_000);
    client.call('vm.update', { name: 'web1', disks: [], removeDisks: [], sectorBytes: null, configuration });
    await server.record('call done');
    server.child.kill('SIGTERM');
    await server.record('stopping');
    await pause(100);
    server.child.kill('SIGTERM');
    expect(await server.ended).toMatchObject({ code: null, signal: 'SIGTERM' });
    client.socket.destroy();
    expect(await place.done('vm list')).toMatchObject({ value: [{ name: 'web1' }] });
  });

  it('answers hundreds of commands at once', async () => {
    const server = await place.serve();
    const clients = await Promise.all(Array.from({ length: 300 }, () => RawClient.greeted(server.ready.control)));
    for (const client of clients) client.call('list', { machine: null });
    const answers = await Promise.all(clients.map((client) => client.answer()));
    expect(answers.every((answer) => answer !== null && 'result' in answer)).toBe(true);
    for (const { socket } of clients) socket.destroy();
  });
});

describe('the command line of a server', () => {
  it.each([
    ['serve --nbd tcp:0.0.0.0:10809', 'ARGUMENT_INVALID', '--allow-plain-tcp'],
    ['serve --nbd tcp:[::]:10809', 'ARGUMENT_INVALID', '--allow-plain-tcp'],
    ['serve --nbd udp:1', 'ARGUMENT_INVALID', 'unix:PATH or tcp:HOST:PORT'],
    ['serve --nbd tcp:127.0.0.1', 'ARGUMENT_INVALID', 'unix:PATH or tcp:HOST:PORT'],
    ['serve --http nowhere', 'ARGUMENT_INVALID', 'HOST:PORT'],
    ['serve --http 127.0.0.1:99999', 'ARGUMENT_INVALID', 'HOST:PORT'],
    ['serve --tls-key key.pem', 'ARGUMENT_INVALID', 'go together'],
    ['serve --tls-key key.pem --tls-certificate none.pem', 'ARGUMENT_INVALID', 'cannot read'],
    ['serve --read-only', 'ARGUMENT_INVALID', '--read-only'],
    ['serve --log-level loud', 'ARGUMENT_INVALID', 'debug, info, warn, error'],
    ['serve --stop-timeout -1', 'ARGUMENT_INVALID', ''],
    ['serve --store nowhere', 'STORE_NOT_FOUND', 'nowhere'],
  ])('%s is refused with %s', async (line, code, words) => {
    const ended = await place.type(`${line} --json`).ended;
    expect([ended.code, codeOf(ended), ended.out]).toEqual([code === 'ARGUMENT_INVALID' ? 2 : 1, code, '']);
    expect(ended.err).toContain(words);
  });

  it('writes its log as text, from a level on, where it is asked to', async () => {
    const server = place.type('serve --log-format text --log-level warn');
    await server.until(() => (server.out.includes('control.sock') ? true : null));
    expect(server.out).toContain(`serving ${place.store}\n  control  ${place.store}/control.sock`);
    server.child.kill('SIGINT');
    expect(await server.ended).toMatchObject({ code: 0, err: '' });
  });
});
