/** `stillpoint serve --tls-psk`: keys that clients know too, with the programs that have them and with clients that misbehave. */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { requireTool } from '../house/tools.js';
import { noise } from '../input/temporary.js';
import { python } from '../interop/nbd-stage.js';
import { command, requestBytes } from '../nbd/client.js';
import { chosen, encrypted, hear, opened, started, type Knowledge } from '../nbd/psk-client.js';
import { Place, type Kept } from './server.js';

const run = promisify(execFile);
const nbdinfo = requireTool('nbdinfo');
const nbdcopy = requireTool('nbdcopy');
const nbdsh = requireTool('nbdsh');
const qemuImg = requireTool('qemu-img');
const MiB = 1_048_576;

const alice: Knowledge = { user: 'alice', key: noise(11, 32) };
const bob: Knowledge = { user: 'bob', key: noise(12, 64) };
const line = ({ user, key }: Knowledge): string => `${user}:${key.toString('hex')}\n`;

let place: Place;
let keys: string;

beforeEach(async () => {
  place = new Place();
  await place.make();
  mkdirSync(place.at('keys'));
  keys = place.at('keys/keys.psk');
  writeFileSync(keys, line(alice) + line(bob), { mode: 0o600 });
});

afterEach(async () => {
  await place.remove();
});

async function serving(words = ''): Promise<{ readonly server: Kept; readonly port: number }> {
  const server = await place.serve(`--nbd tcp:127.0.0.1:0 --tls-psk ${keys} ${words}`.trim());
  return { server, port: Number(server.ready.nbd[0]?.split(':').at(-1)) };
}

const uri = (port: number, user = 'alice', file = keys): string =>
  `nbds://${user}@127.0.0.1:${port}/web1/os?tls-psk-file=${file}`;

/** Sockets and threads of a server. */
function held(server: Kept): { readonly sockets: number; readonly threads: number } {
  const process = `/proc/${server.child.pid ?? 0}`;
  const isSocket = (fd: string): boolean => {
    try {
      return readlinkSync(`${process}/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // closed meanwhile
    }
  };
  const sockets = readdirSync(`${process}/fd`).filter(isSocket).length;
  return { sockets, threads: readdirSync(`${process}/task`).length };
}

/** Waits until a server holds no more than that; what it holds then. */
async function heldAtMost(server: Kept, most: ReturnType<typeof held>): Promise<ReturnType<typeof held>> {
  for (let tries = 0; tries < 500; tries += 1) {
    const now = held(server);
    if (now.sockets <= most.sockets && now.threads <= most.threads) return now;
    await pause(20);
  }
  return held(server);
}

/** Whether a new client is served. */
async function isServed(port: number): Promise<boolean> {
  const client = await opened(port, bob, 'web1/os');
  client.write(requestBytes(command.read, 7n, 0, 512));
  const reply = await hear(client, 16 + 512);
  client.destroy();
  return reply.readBigUInt64BE(8) === 7n;
}

describe('a server with keys that clients know', () => {
  it.skipIf(nbdinfo.isMissing || nbdcopy.isMissing)('is read and written by the tools of libnbd', async () => {
    const { port } = await serving();
    const bytes = noise(5, MiB);
    writeFileSync(place.at('new.raw'), bytes);

    const { stdout } = await run(nbdinfo.path, ['--json', uri(port)]);
    await run(nbdcopy.path, ['--flush', place.at('new.raw'), uri(port)]);
    await run(nbdcopy.path, [uri(port, 'bob'), place.at('back.raw')]);

    expect(JSON.parse(stdout)).toMatchObject({ TLS: true, exports: [{ 'export-name': 'web1-os' }] });
    expect(readFileSync(place.at('back.raw')).equals(bytes)).toBe(true);
  });

  it('takes the longest user with the longest key', async () => {
    const long = { user: 'u'.repeat(128), key: noise(13, 256) };
    writeFileSync(keys, line(long));
    const { port } = await serving();

    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const client = await encrypted(await started(port), long, version);
      expect(await chosen(client, 'web1/os')).toBe(MiB);
      client.destroy();
    }
  });

  it.skipIf(nbdinfo.isMissing)('takes clients of TLS 1.2 too', async () => {
    const { port } = await serving();
    const policy = place.at('policy');
    writeFileSync(policy, '[overrides]\ndisabled-version = tls1.3\n');

    const environment = { ...process.env, GNUTLS_SYSTEM_PRIORITY_FILE: policy };
    const { stdout } = await run(nbdinfo.path, ['--size', uri(port)], { env: environment });
    const older = await encrypted(await started(port), alice, 'TLSv1.2');
    const newer = await encrypted(await started(port), alice);

    expect(stdout.trim()).toBe(String(MiB));
    expect([older.getProtocol(), newer.getProtocol()]).toEqual(['TLSv1.2', 'TLSv1.3']);
    expect(older.getCipher().name).toMatch(/^(EC)?DHE-PSK-/);
    expect(await chosen(older, 'web1/os')).toBe(MiB);
    for (const client of [older, newer]) client.destroy();
  });

  it.skipIf(qemuImg.isMissing)('is read and written by QEMU', async () => {
    const { port } = await serving();
    const bytes = noise(6, MiB);
    writeFileSync(place.at('new.raw'), bytes);
    const credentials = ['--object', `tls-creds-psk,id=tls,endpoint=client,dir=${place.at('keys')},username=alice`];
    const image = `driver=nbd,host=127.0.0.1,port=${port},export=web1/os,tls-creds=tls`;

    const write = [
      '-n',
      '-f',
      'raw',
      '--target-image-opts',
      place.at('new.raw'),
      `driver=raw,file.${image.replaceAll(',', ',file.')}`,
    ];
    await run(qemuImg.path, ['convert', ...credentials, ...write]);
    await run(qemuImg.path, ['convert', ...credentials, '--image-opts', image, '-O', 'raw', place.at('back.raw')]);

    expect(readFileSync(place.at('back.raw')).equals(bytes)).toBe(true);
  });

  it.skipIf(nbdsh.isMissing)('answers many requests at once of a program with libnbd', async () => {
    const { port } = await serving();
    const script = `
import random
random.seed(1)
clients = []
for each in range(4):
    h = nbd.NBD()
    h.set_tls(nbd.TLS_REQUIRE)
    h.set_tls_psk_file('${keys}')
    h.set_tls_username('alice')
    h.set_export_name('web1/os')
    h.connect_tcp('127.0.0.1', '${port}')
    assert h.get_tls_negotiated()
    clients.append(h)
model = bytearray(clients[0].pread(${MiB}, 0))
for round in range(200):
    h = clients[round % 4]
    at = random.randrange(${MiB} - 70000)
    data = random.randbytes(random.randrange(1, 70000))
    h.pwrite(data, at)
    model[at:at + len(data)] = data
buffers = [(h, at, nbd.Buffer(4096)) for at in range(0, ${MiB}, 4096) for h in clients]
commands = [(h, h.aio_pread(buffer, at)) for h, at, buffer in buffers]
for h, cookie in commands:
    while not h.aio_command_completed(cookie):
        h.poll(-1)
assert all(buffer.to_bytearray() == model[at:at + 4096] for h, at, buffer in buffers)
for h in clients:
    h.shutdown()
print('same')
`;
    expect((await python(nbdsh, script)).trim()).toBe('same');
  });

  it('lets in nobody with another key, nobody whom it does not know, and no client in the clear', async () => {
    const { port } = await serving();
    for (const stranger of [
      { ...alice, key: bob.key },
      { user: 'eve', key: alice.key },
      { user: '', key: alice.key },
    ]) {
      for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
        const socket = await started(port);
        const failed = encrypted(socket, stranger, version).then((client) => hear(client, 1));
        await expect(failed).rejects.toThrow();
      }
    }
    const plain = await started(port);
    plain.write(Buffer.from('IHAVEOPT\0\0\0\u0003\0\0\0\0')); // goes on in the clear
    await expect(hear(plain, 100)).rejects.toThrow('hung up');

    expect(await isServed(port)).toBe(true);
  });

  it('holds nothing of clients that came and went, in whatever way', { timeout: 120_000 }, async () => {
    const { server, port } = await serving();
    expect(await isServed(port)).toBe(true);
    await pause(200);
    const before = held(server);
    const ways = [
      async () => (await started(port)).destroy(),
      async () => (await started(port)).end(Buffer.from([0x16, 3, 1, 2, 0, 1])),
      async () => (await started(port)).end(noise(3, 300)),
      async () => (await encrypted(await started(port), alice)).destroy(),
      async () => (await encrypted(await started(port), { ...alice, key: bob.key }).catch(() => null))?.destroy(),
      async () => (await opened(port, alice, 'web1/os')).end(requestBytes(command.disconnect, 1n, 0, 0)),
      async () => {
        const client = await opened(port, alice, 'web1/os');
        for (let count = 0; count < 20; count += 1) client.write(requestBytes(command.read, 1n, 0, 65_536));
        client.destroy();
      },
      async () => {
        const raw = await started(port);
        const client = await encrypted(raw, alice);
        await chosen(client, 'web1/os');
        client.write(requestBytes(command.write, 1n, 0, 65_536));
        client.write(Buffer.alloc(1000));
        raw.resetAndDestroy();
      },
    ];

    for (let round = 0; round < 40; round += 1) await Promise.all(ways.map((way) => way()));

    expect(await heldAtMost(server, before)).toEqual(before);
    expect(await isServed(port)).toBe(true);
  });

  it.skipIf(nbdcopy.isMissing)('goes on for others when a client is killed in the middle', async () => {
    await place.done('disk create large --size 64MiB');
    const { server, port } = await serving();
    expect(await isServed(port)).toBe(true);
    await pause(200);
    const before = held(server);
    writeFileSync(place.at('large.raw'), noise(8, 64 * MiB));
    const large = uri(port).replace('web1/os', 'large');

    for (let round = 0; round < 5; round += 1) {
      const copy = spawn(nbdcopy.path, [place.at('large.raw'), large], { stdio: 'ignore' });
      await pause(20 + 30 * round);
      copy.kill('SIGKILL');
      await once(copy, 'close');
      expect(await isServed(port)).toBe(true);
    }
    // What request threads held is given back; the last of them may take a moment.
    expect(await heldAtMost(server, before)).toEqual(before);
  });

  it('has who reads nothing wait, with no memory for what it asked', async () => {
    await place.done('disk create large --size 64MiB');
    const { server, port } = await serving();
    const memory = (): number => {
      const status = readFileSync(`/proc/${server.child.pid ?? 0}/status`, 'utf8');
      return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
    };
    const client = await opened(port, alice, 'large');
    const before = memory();
    client.pause();
    for (let count = 0; count < 400; count += 1) client.write(requestBytes(command.read, BigInt(count), 0, MiB));
    await pause(1500);

    expect(await isServed(port)).toBe(true);
    expect(memory() - before).toBeLessThan(160 * MiB); // of 400 MiB; 65 MiB are what any client may have in flight

    let heard = 0;
    client.on('data', (bytes: Buffer) => (heard += bytes.length)).resume();
    while (heard < 400 * (MiB + 16)) await pause(20);
    expect(heard).toBe(400 * (MiB + 16));
    client.destroy();
  });

  it('ends with clients of all kinds, those in the middle of a handshake among them', async () => {
    const { server, port } = await serving('--nbd-clients-max 3');
    const clients = [await started(port), await opened(port, alice, 'web1/os'), await opened(port, bob, 'web1/os')];
    await expect(started(port)).rejects.toThrow('hung up'); // a client whose handshake is not done counts

    server.child.kill('SIGTERM');

    for (const client of clients) await expect(hear(client, 1)).rejects.toThrow();
    expect(await server.ended).toMatchObject({ code: 0, signal: null });
  });

  it('refuses files that others can read, that hold no keys, or that come with a certificate', async () => {
    const refusal = async (words: string): Promise<string> => {
      const { code, err } = await place.type(`serve --json --nbd tcp:127.0.0.1:0 ${words}`).ended;
      expect(code).toBe(2);
      return err;
    };
    for (const mode of [0o604, 0o644, 0o660, 0o622]) {
      chmodSync(keys, mode);
      expect(await refusal(`--tls-psk ${keys}`)).toContain('chmod 600');
    }
    chmodSync(keys, 0o600);
    expect(await refusal(`--tls-psk ${place.at('none.psk')}`)).toContain('ENOENT');
    expect(await refusal(`--tls-psk ${keys} --tls-certificate ${keys} --tls-key ${keys}`)).toContain(
      'does not go with a certificate',
    );
    writeFileSync(keys, `${line(alice)}alice:00112233\n`);
    const told = await refusal(`--tls-psk ${keys}`);
    expect(told).toContain('line 2');
    expect(told).not.toContain('00112233');
  });
});
