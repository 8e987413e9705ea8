/**
 * A process that serves a store over NBD until it is killed.
 *
 * Arguments: store, Unix socket. It prints `serving` when clients may come.
 */

import { writeSync } from 'node:fs';

import { openStore } from 'stillpoint';

const [storePath, socket] = process.argv.slice(2);
const store = await openStore({ path: storePath });
await store.serveNbd({ listen: [{ unix: socket }] });
writeSync(1, 'serving\n');
