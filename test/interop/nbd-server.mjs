/**
 * A process that serves a store, for tests that look at it from outside or end it.
 *
 * Arguments: store, socket. Says `ready` when it listens. Each line that it reads is the name of a point of `vm` to restore in
 * place, answered by `restored` or by the error's code; at the end of its input it closes the store and ends.
 */

import process from 'node:process';
import { createInterface } from 'node:readline';

import { openStore } from 'stillpoint';

const [storePath, socket] = process.argv.slice(2);
const store = await openStore({ path: storePath });
await store.serveNbd({ listen: [{ unix: socket }] });
process.stdout.write('ready\n');
for await (const name of createInterface({ input: process.stdin })) {
  const said = await store.restoreInPlace(`vm/${name}`).then(
    () => 'restored',
    (error) => error.code,
  );
  process.stdout.write(`${said}\n`);
}
await store.close();
