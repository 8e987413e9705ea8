/** A client in TLS with a key that the server knows, as far as tests of the handshake and of ends need one. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as encrypt, type TLSSocket } from 'node:tls';

/** What a client has to know. */
export interface Knowledge {
  readonly user: string;
  readonly key: Buffer;
}

/** The next bytes, exactly. */
export async function hear(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const bytes = socket.read(length) as Buffer | null;
    if (bytes?.length === length) return bytes;
    if (bytes !== null || socket.destroyed || socket.readableEnded) throw new Error('the server hung up');
    await Promise.race([once(socket, 'readable'), once(socket, 'close'), once(socket, 'end')]);
  }
}

/** Connects and has been told that TLS comes next. */
export async function started(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => undefined);
  await hear(socket, 18);
  const option = Buffer.alloc(20);
  option.writeUInt32BE(3);
  option.write('IHAVEOPT', 4);
  option.writeUInt32BE(5, 12);
  socket.write(option);
  await hear(socket, 20);
  return socket;
}

/** Goes on in TLS. */
export async function encrypted(
  socket: Socket,
  { user, key }: Knowledge,
  maxVersion: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.3',
): Promise<TLSSocket> {
  const pskCallback = (): { psk: Buffer; identity: string } => ({ psk: key, identity: user });
  const checkServerIdentity = (): undefined => undefined;
  const ciphers = 'TLS_AES_128_GCM_SHA256:PSK:!CBC';
  const client = encrypt({ socket, pskCallback, checkServerIdentity, ciphers, maxVersion, minVersion: 'TLSv1.2' });
  client.on('error', () => undefined);
  await Promise.race([
    once(client, 'secureConnect'),
    once(client, 'close').then(() => Promise.reject(new Error('the server hung up'))),
  ]);
  return client;
}

/** Chooses an export; its size. */
export async function chosen(client: Socket, name: string): Promise<number> {
  const option = Buffer.alloc(16 + name.length);
  option.write('IHAVEOPT');
  option.writeUInt32BE(1, 8);
  option.writeUInt32BE(name.length, 12);
  option.write(name, 16);
  client.write(option);
  return Number((await hear(client, 10)).readBigUInt64BE());
}

/** All of it, from connecting to an export. */
export async function opened(port: number, knowledge: Knowledge, name: string): Promise<TLSSocket> {
  const client = await encrypted(await started(port), knowledge);
  await chosen(client, name);
  return client;
}
