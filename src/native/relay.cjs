/**
 * The thread that encrypts NBD clients with keys that both sides know, which the engine's TLS does not do.
 *
 * Loaded by the program it says where it lies; loaded as a thread with `{ preSharedKeys }` it takes clients: descriptors of a
 * client's socket, before its handshake, and of a socket for what it says in the clear. It says READY there when the handshake is
 * done, and then carries bytes both ways. How long a client may take for anything is the engine's to judge, which ends
 * both sockets. What is closed first is the client's, so that the engine knows that nothing is left of it.
 *
 * A file of CommonJS, and no TypeScript: a thread needs a file, also where the sources run as they are and where the command was
 * put together into few files, and files like this one stay where they are.
 */

/* global __filename */
'use strict';

const { constants, randomBytes } = require('node:crypto');
const { Socket } = require('node:net');
const { createSecureContext, TLSSocket } = require('node:tls');
const { parentPort, workerData } = require('node:worker_threads');

/** What the engine waits for: `READY` of native/engine/src/nbd/relay.rs. */
const ready = Buffer.of(1);

/**
 * TLS 1.3 keeps what was said secret from whoever learns the key later, and so do these of 1.2; those of 1.3 are the ones with
 * SHA-256, which keys without a hash of their own go with (RFC 8446, 4.2.11).
 */
const ciphers = [
  ...['TLS_AES_128_GCM_SHA256', 'TLS_CHACHA20_POLY1305_SHA256'],
  ...['ECDHE-PSK-CHACHA20-POLY1305', 'DHE-PSK-AES256-GCM-SHA384', 'DHE-PSK-AES128-GCM-SHA256'],
];

function work(preSharedKeys) {
  const { SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_NO_RENEGOTIATION, SSL_OP_NO_TICKET } = constants;
  const secureContext = createSecureContext({
    minVersion: 'TLSv1.2',
    ciphers: ciphers.join(':'),
    dhparam: 'auto',
    secureOptions: SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET,
  });
  const nobodys = randomBytes(32); // who guesses at users learns no more than who guesses at keys
  const pskCallback = (_socket, user) => preSharedKeys.get(user) ?? nobodys;
  const clients = new Set();

  function relay(clientFd, plainFd) {
    const plain = new Socket({ fd: plainFd, readable: true, writable: true, allowHalfOpen: true });
    plain.on('error', () => undefined); // `close` follows
    let socket;
    try {
      socket = new Socket({ fd: clientFd, readable: true, writable: true, allowHalfOpen: true, manualStart: true });
    } catch (error) {
      plain.destroy();
      throw error;
    }
    const client = new TLSSocket(socket, { isServer: true, secureContext, pskCallback });
    const end = () => {
      client.destroy();
      socket.destroy();
    };
    socket.once('close', () => {
      clients.delete(end);
      client.destroy();
      plain.destroy();
    });
    clients.add(end);
    for (const side of [client, socket]) side.on('error', end);
    client.once('close', end);
    client.once('finish', end); // all was handed over, with the announcement of the end
    plain.once('close', end);
    client.once('end', end).resume(); // nothing is to be read before the handshake is done but that the client left
    client.once('secure', () => {
      client.off('end', end);
      plain.write(ready);
      plain.pipe(client).pipe(plain);
    });
  }

  parentPort.on('message', (message) => {
    if (message === 'end') {
      for (const end of clients) end();
      parentPort.close();
      return;
    }
    parentPort.postMessage('taken'); // from here on both descriptors are closed here
    try {
      relay(message.client, message.plain);
    } catch {
      // A descriptor that is no socket: there is nobody to tell.
    }
  });
}

if (workerData?.preSharedKeys === undefined) module.exports = { file: __filename };
else work(workerData.preSharedKeys);
