/**
 * Stillpoint as the storage of a hypervisor: what a virtual device asks for, and what a host does around it. docs/embedding.md
 * walks through it.
 *
 *     node examples/embedded-backend.mjs DIR        DIR: where the store is made; must not exist
 */

import { createStore, openStore } from 'stillpoint';

const MiB = 1024 * 1024;
const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('say where the store is to be made');

/** What a virtual block device is given: its requests as a guest makes them, its errors as a guest knows them. */
class BlockDevice {
  #disk;

  constructor(disk) {
    this.#disk = disk;
  }

  get geometry() {
    const { sizeBytes, sectorBytes } = this.#disk.info;
    return { sizeBytes, sectorBytes };
  }

  /** Requests that a guest queued together, with one call; a guest waits for all of a queue or for its last. */
  async submit(queue) {
    const operations = queue.map(({ kind, offset, buffer, length, fua }) => {
      if (kind === 'read') return { kind, offset, buffer };
      if (kind === 'write') return { kind, offset, bytes: buffer, fua };
      if (kind === 'discard') return { kind: 'trim', offset, length };
      return { kind: 'flush' };
    });
    try {
      await this.#disk.batch(operations);
      return 'ok';
    } catch (error) {
      if (error.code === 'NO_SPACE') return 'no space'; // stop the guest, and go on when an event says `normal`
      if (error.kind === 'fix-call') return 'bad request';
      return 'broken'; // LOG_FENCED, LOG_DAMAGED, STORE_CLOSED: the device takes no writes until reopenLogs, or the next opening
    }
  }
}

await createStore({ path: directory });
const store = await openStore({ path: directory });

// What an operator wants to know goes its own way; it never holds a request up.
const watching = new AbortController();
const watched = (async () => {
  for await (const event of store.events({ signal: watching.signal })) {
    if (event.kind === 'copied') console.log(`copied ${event.point}`);
    if (event.kind === 'pressure') console.log(`pressure ${event.level}`);
    if (event.kind === 'unclean') console.log(`${event.machine} lost ${event.droppedRecords} unflushed records`);
  }
})();

// A machine of two disks. Nothing is allocated before it is written.
await store.createDisk({ name: 'web-os', sizeBytes: 64 * MiB });
await store.createDisk({ name: 'web-data', sizeBytes: 64 * MiB });
const web = await store.createVirtualMachine({
  name: 'web',
  disks: { os: 'web-os', data: 'web-data' },
  configuration: { vcpus: 2 },
});
const data = new BlockDevice(await store.disk('web-data'));
console.log(`a device of ${data.geometry.sizeBytes / MiB} MiB in sectors of ${data.geometry.sectorBytes}`);

// The guest writes, as many requests at a time as it likes; a flush covers all that was answered before.
const page = (text) => Buffer.alloc(4096, text);
await data.submit([
  { kind: 'write', offset: 0, buffer: page('first ') },
  { kind: 'write', offset: 8 * MiB, buffer: page('row 1 ') },
  { kind: 'flush' },
]);

// A restore point of both disks at one instant. Writers do not wait, and it can be used before its copy has ended.
const point = await web.capture({ name: 'before-upgrade' });
await data.submit([{ kind: 'write', offset: 0, buffer: page('second ') }]);

// A sandbox from that moment: a new machine, at once, that shares everything with the first until it writes.
await store.restoreToMachine('web/before-upgrade', { name: 'sandbox' });
const sandbox = new BlockDevice(await store.disk('sandbox-data'));
const buffer = new Uint8Array(4096);
await sandbox.submit([{ kind: 'read', offset: 0, buffer }]);
console.log(`the sandbox reads '${Buffer.from(buffer.subarray(0, 5)).toString()}'`);
await sandbox.submit([
  { kind: 'write', offset: 0, buffer: page('sandbox ') },
  { kind: 'discard', offset: 8 * MiB, length: 4096 },
]);

// What changed since the point: what a backup has to take.
await web.capture({ name: 'after-upgrade' });
for await (const { offset, length, kind } of store.diff('web/before-upgrade', 'web/after-upgrade', {
  disk: 'data',
  granularity: 4096,
})) {
  console.log(`changed: ${length} bytes of ${kind} from ${offset}`);
}

// The upgrade went wrong: back, as one record of the log. The device stays; the guest has to be stopped for this.
await store.restoreInPlace('web/before-upgrade');
await data.submit([{ kind: 'read', offset: 0, buffer }]);
console.log(`the machine reads '${Buffer.from(buffer.subarray(0, 5)).toString()}'`);

console.log(await data.submit([{ kind: 'read', offset: 64 * MiB, buffer }]));

await point.copied();
watching.abort();
await watched;
await store.close(); // requests that are under way end first; copies go on with the next open
console.log('closed');
