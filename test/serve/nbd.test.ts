/** `stillpoint serve --nbd`: clients and commands on one store, over sockets that it makes and those that it is given. */

import { execFile } from 'node:child_process';
import { existsSync, lstatSync, readdirSync } from 'node:fs';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { requireTool } from '../house/tools.js';
import { codeOf } from '../input/command.js';
import { noise } from '../input/temporary.js';
import { NbdClient } from '../nbd/client.js';
import { main, Place } from './server.js';

const run = promisify(execFile);
const activate = requireTool('systemd-socket-activate');
const openssl = requireTool('openssl');
const nbdinfo = requireTool('nbdinfo');

let place: Place;

beforeEach(async () => {
  place = new Place();
  await place.make();
});

afterEach(async () => {
  await place.remove();
});

describe('a server with NBD', () => {
  it('has clients write while commands capture, and tells of both', async () => {
    const at = { unix: place.at('nbd.sock') };
    const server = await place.serve(`--nbd unix:${at.unix} --nbd tcp:127.0.0.1:0`);
    expect(server.ready.nbd).toEqual([`unix:${at.unix}`, expect.stringMatching(/^tcp:127\.0\.0\.1:\d+$/)]);
    expect(lstatSync(at.unix).mode & 0o777).toBe(0o600);

    const client = await NbdClient.open(at, 'web1/os');
    await client.write(0, noise(1, 4096));
    await client.flush();
    await place.done('capture web1 --name one --wait');
    await client.write(0, noise(2, 4096));
    const point = await NbdClient.open(at, 'web1/one/os');
    expect((await point.read(0, 4096)).equals(noise(1, 4096))).toBe(true);

    const refused = await place.type('restore web1/one --in-place --json').ended;
    expect([refused.code, codeOf(refused)]).toEqual([1, 'DISK_EXPORTED']);
    await client.close();
    await point.close();
    await place.done('restore web1/one --in-place');
    const again = await NbdClient.open(at, 'web1/os');
    expect((await again.read(0, 4096)).equals(noise(1, 4096))).toBe(true);

    server.child.kill('SIGTERM');
    await again.hungUp();
    expect(await server.ended).toMatchObject({ code: 0, signal: null });
    expect(existsSync(at.unix)).toBe(false);
  });

  it('goes on at the same socket after a server that was killed, with all that was answered', async () => {
    const at = { unix: place.at('nbd.sock') };
    const first = await place.serve(`--nbd unix:${at.unix}`);
    const logs = readdirSync(`${place.store}/live`);
    const client = await NbdClient.open(at, 'web1/os');
    await client.write(4096, noise(3, 8192));
    await place.done('capture web1 --name one --wait');
    await NbdClient.open(at, 'scratch:web1/one/os');
    first.child.kill('SIGKILL');
    await first.ended;
    expect(readdirSync(`${place.store}/live`)).toHaveLength(logs.length + 1);

    await place.serve(`--nbd unix:${at.unix}`);
    const again = await NbdClient.open(at, 'web1/os');
    expect((await again.read(4096, 8192)).equals(noise(3, 8192))).toBe(true);
    expect(readdirSync(`${place.store}/live`)).toEqual(logs);
    await again.close();
  });

  it('refuses addresses that others reach without a certificate, and ends', async () => {
    const { code, err } = await place.type('serve --json --nbd tcp:0.0.0.0:0').ended;
    expect([code, JSON.parse(err.slice(err.indexOf('{"error"')))]).toMatchObject([
      2,
      { error: { code: 'ARGUMENT_INVALID' } },
    ]);
    const missing = await place.type(`serve --json --nbd unix:${place.at('nowhere/nbd.sock')}`).ended;
    expect(missing.code).toBe(1);
    expect(await place.done('vm list')).toMatchObject({ readOnly: false });
  });

  it.skipIf(activate.isMissing)('serves at a socket that the service manager listens at', async () => {
    const at = { unix: place.at('given.sock') };
    place.start(activate.path, [
      ...['--listen', at.unix, '--fdname', 'nbd', '--setenv', `STILLPOINT_STORE=${place.store}`],
      ...[process.execPath, main, 'serve', '--json'],
    ]);
    while (!existsSync(at.unix)) await pause(20);

    const client = await NbdClient.open(at, 'web1/os');

    expect(client.sizeBytes).toBe(1_048_576);
    await client.close();
  });

  it.skipIf(openssl.isMissing || nbdinfo.isMissing)('encrypts where it has a certificate', async () => {
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    const [key, certificate] = [place.at('key.pem'), place.at('ca-cert.pem')];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    await run(openssl.path, ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', certificate]);
    const words = `--nbd tcp:127.0.0.1:0 --tls-certificate ${certificate} --tls-key ${key}`;
    const { ready } = await place.serve(words);
    const port = Number(ready.nbd[0]?.split(':').at(-1));

    const uri = `nbds://localhost:${port}/web1/os?tls-certificates=${place.folder}`;
    const { stdout } = await run(nbdinfo.path, ['--json', uri]);

    expect(JSON.parse(stdout)).toMatchObject({
      TLS: true,
      exports: [{ 'export-name': 'web1-os', 'export-size': 1_048_576 }],
    });
  });
});
