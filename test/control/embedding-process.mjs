// A program that has a store open for purposes of its own, and lets the command line in. Told what to do by lines on stdin;
// answers each with a line. Arguments: the store's path.

import { createInterface } from 'node:readline';
import process from 'node:process';

import { openStore } from 'stillpoint';
import { serveControl } from 'stillpoint/control';

const megabyte = 1_048_576;
const store = await openStore({ path: process.argv[2] ?? '', threads: 2 });
const disks = {};
for (const name of ['db', 'web']) {
  disks[name] = await store.createDisk({ name: `${name}-os`, sizeBytes: 4 * megabyte });
  await store.createVirtualMachine({ name, disks: { os: `${name}-os` } });
}
await disks.db.write(0, new Uint8Array(megabyte).fill(1), { fua: true });
const calls = [];
let control = await serveControl(store, {
  onAnswered: ({ command, code }) => calls.push(`${command} ${code ?? 'ok'}`),
});

/** The code that a call rejects with; `ok` where it does not. */
async function codeOf(call) {
  try {
    await call();
    return 'ok';
  } catch (error) {
    return error.code ?? String(error);
  }
}

const orders = {
  path: () => control.path,
  again: () => codeOf(() => serveControl(store)),
  calls: () => calls.join(', '),
  'write db': () => codeOf(() => disks.db.write(megabyte, new Uint8Array(4096).fill(2), { fua: true })),
  'write web': () => codeOf(() => disks.web.write(0, new Uint8Array(4096).fill(3), { fua: true })),
  'read db': async () => {
    const bytes = await disks.db.read(0, megabyte + 4096);
    return `${bytes[0]} ${bytes[megabyte - 1]} ${bytes[megabyte]}`;
  },
  leave: () => codeOf(() => control.close({ graceMs: 0 })),
  come: () =>
    codeOf(async () => {
      control = await serveControl(store);
    }),
  end: () => codeOf(() => store.close()),
};

console.log('ready');
for await (const line of createInterface({ input: process.stdin })) console.log(await orders[line]());
