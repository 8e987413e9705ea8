/** The unit files are right, sockets are taken over, and the service manager is told how far the server is. */

import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import path from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { requireTool } from '../house/tools.js';
import { main, Place, type Kept } from './server.js';

const analyze = requireTool('systemd-analyze');
const activate = requireTool('systemd-socket-activate');
const notify = requireTool('systemd-notify');
const python = requireTool('python3');
const units = fileURLToPath(new URL('../../contrib/systemd/', import.meta.url));

let place: Place;

beforeEach(() => {
  place = new Place();
});

afterEach(async () => {
  await place.remove();
});

/** A GET over a Unix socket; waits while nobody listens there yet: the file is there a moment before somebody does. */
async function getOver(socketPath: string, target: string): Promise<{ status: number; body: string }> {
  for (let refusals = 0; ;) {
    try {
      return await new Promise((resolve, reject) => {
        request({ socketPath, path: target }, (answer) => {
          let body = '';
          answer.on('data', (part: Buffer) => (body += part.toString()));
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
        })
          .on('error', reject)
          .end();
      });
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : null;
      if (code === 'ECONNREFUSED') refusals += 1;
      if ((code !== 'ENOENT' && code !== 'ECONNREFUSED') || refusals > 50) throw error;
      await pause(20);
    }
  }
}

/** Receives the datagrams that a service manager would get, a line each. */
const receiver = `
import os, socket, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('\\0' + name[1:] if name.startswith('@') else name)
print('bound', flush=True)
while True:
    data, fds, _, _ = socket.recv_fds(s, 4096, 4)
    for fd in fds: os.close(fd)
    print(data.decode().replace('\\n', ' '), flush=True)
`;

async function receive(name: string): Promise<Kept> {
  writeFileSync(place.at('receiver.py'), receiver);
  const kept = place.start(python.path, [place.at('receiver.py'), name]);
  await kept.until(() => (kept.out.startsWith('bound') ? true : null));
  return kept;
}

describe('the unit files', () => {
  it.skipIf(analyze.isMissing)('pass systemd-analyze verify', async () => {
    const folder = place.at('units');
    mkdirSync(folder);
    const names = readdirSync(units);
    expect(names).toEqual(['stillpoint-http.socket', 'stillpoint-nbd.socket', 'stillpoint.service']);
    for (const name of names) copyFileSync(path.join(units, name), path.join(folder, name));
    // The program is looked for where the unit has it, and is not installed here.
    const service = path.join(folder, 'stillpoint.service');
    writeFileSync(service, readFileSync(service, 'utf8').replace('/usr/bin/stillpoint', main));
    const files = names.map((name) => path.join(folder, name));
    const ended = await place.start(analyze.path, ['verify', '--man=no', ...files]).ended;
    expect({ code: ended.code, said: ended.out + ended.err }).toEqual({ code: 0, said: '' });
  });
});

describe('a passed socket', () => {
  const activated = async (words: readonly string[], name: string): Promise<Kept> => {
    await place.make();
    const listen = ['-l', place.at('passed.sock'), `--fdname=${name}`, '-E', `STILLPOINT_STORE=${place.store}`];
    return place.start(activate.path, [...listen, process.execPath, main, 'serve', '--json', ...words]);
  };

  it.skipIf(activate.isMissing)('with http in its name serves metrics', async () => {
    const server = await activated([], 'stillpoint-http.socket');
    const health = await getOver(place.at('passed.sock'), '/healthz');
    expect(health).toEqual({ status: 200, body: '{"status":"ok"}' });
    expect((await getOver(place.at('passed.sock'), '/metrics')).body).toContain('stillpoint_machines 1');
    expect(await place.done('vm list')).toMatchObject({ readOnly: false });
    server.child.kill('SIGTERM');
    expect(await server.ended).toMatchObject({ code: 0 });
  });

  it.skipIf(activate.isMissing)('with a name that says nothing is refused', async () => {
    const server = await activated([], 'other');
    await getOver(place.at('passed.sock'), '/healthz').catch(() => null);
    expect(await server.ended).toMatchObject({ code: 2 });
    expect(server.err).toContain('say nbd or http with FileDescriptorName=');
  });
});

describe('the service manager', () => {
  const isMissing = notify.isMissing || python.isMissing;

  it.skipIf(isMissing).each(['path', 'abstract'])(
    'is told when the server is ready, alive and stopping, over a socket with a name of the kind %s',
    async (kind) => {
      await place.make();
      const name = kind === 'path' ? place.at('notify.sock') : `@stillpoint-test-${process.pid}`;
      const manager = await receive(name);
      const server = await place.serve('', { NOTIFY_SOCKET: name, WATCHDOG_USEC: '400000' });
      await manager.until(() => (manager.out.split('WATCHDOG=1').length > 3 ? true : null));
      server.child.kill('SIGTERM');
      expect(await server.ended).toMatchObject({ code: 0 });
      await manager.until(() => (manager.out.includes('STOPPING=1') ? true : null));
      expect(manager.out).toContain(`READY=1 STATUS=serving ${place.store}`);
      expect(manager.out.indexOf('READY=1')).toBeLessThan(manager.out.indexOf('STOPPING=1'));
      expect(server.records.filter(({ level }) => level !== 'info')).toEqual([]);
    },
  );

  it('that cannot be reached is no reason to fail', async () => {
    await place.make();
    const server = await place.serve('', { NOTIFY_SOCKET: place.at('nobody.sock') });
    await server.record('cannot notify');
    expect(await place.done('vm list')).toMatchObject({ readOnly: false });
    server.child.kill('SIGTERM');
    expect(await server.ended).toMatchObject({ code: 0 });
    expect(server.records.filter(({ msg }) => msg === 'cannot notify')).toHaveLength(1);
  });
});
