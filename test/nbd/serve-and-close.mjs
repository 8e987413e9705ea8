/** Serves a store, closes it at the first line on stdin, and has nothing left to do. */

import { once } from 'node:events';

import { openStore } from 'stillpoint';

const [path = '', unix = ''] = process.argv.slice(2);
const store = await openStore({ path });
await store.serveNbd({ listen: [{ unix }] });
process.stdout.write('serving\n');
await once(process.stdin, 'data');
await store.close();
process.stdin.destroy();
