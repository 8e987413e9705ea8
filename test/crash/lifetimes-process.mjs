/**
 * A process, or a worker of it, that does everything at once with live disks and is ended in the middle of it.
 *
 *     lifetimes-process.mjs exit STORE SEED            begins many calls, then process.exit(0) at once or after some of them
 *     lifetimes-process.mjs workers STORE SEED COUNT   COUNT workers, one after the other, each terminated in mid-flight
 *
 * The end of a line of work is what is looked at: a signal instead of an exit code is a crash of the addon.
 */

import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

import { createStore, openStore } from 'stillpoint';
import { seededRandom } from 'stillpoint/testing';

const diskBytes = 4 << 20;

function chanceOf(seed) {
  const random = seededRandom(seed);
  return (limit) => random.bytes(2).reduce((value, byte) => value * 256 + byte, 0) % limit;
}

/** Opens the store, made when it is not there, and keeps a heap of calls under way. `onCall` after each that ended. */
async function beBusy(storePath, seed, onCall) {
  const below = chanceOf(seed);
  const store = await opened(storePath);
  const names = (await store.disks()).map(({ name }) => name);
  if (!names.includes('one')) await store.createDisk({ name: 'one', sizeBytes: diskBytes });
  if (!names.includes('two')) await store.createDisk({ name: 'two', sizeBytes: diskBytes });
  const machines = await store.virtualMachines();
  if (machines.length === 0) await store.createVirtualMachine({ name: 'm', disks: { one: 'one', two: 'two' } });
  const disks = [await store.disk('one'), await store.disk('two')];
  const work = async () => {
    for (;;) {
      await call(store, disks[below(2)], below).catch(refusedOnly);
      onCall();
    }
  };
  await Promise.all(Array.from({ length: 24 }, work));
}

async function opened(storePath) {
  try {
    return await openStore({ path: storePath });
  } catch (error) {
    if (error.code !== 'STORE_NOT_FOUND') throw error;
    await createStore({ path: storePath });
    return openStore({ path: storePath });
  }
}

function call(store, disk, below) {
  const length = 4096 * (1 + below(below(8) === 0 ? 256 : 4));
  const offset = 4096 * below((diskBytes - length) / 4096 + 1);
  switch (below(16)) {
    case 0:
      return disk.flush();
    case 1:
      return store.capture('m').then((point) => (below(2) === 0 ? point.copied() : undefined));
    case 2:
      return deleteOne(store);
    case 3:
      return disk.trim(offset, length);
    case 4:
      return disk.writeZeroes(offset, length, { fua: true });
    case 5:
      return disk.batch([
        { kind: 'write', offset, bytes: Buffer.alloc(length, 3) },
        { kind: 'read', offset: 0, buffer: new Uint8Array(65536) },
        { kind: 'flush' },
      ]);
    case 6:
    case 7:
    case 8:
      return disk.read(offset, length);
    default:
      return disk.write(offset, Buffer.alloc(length, below(256)));
  }
}

async function deleteOne(store) {
  const [point] = await store.restorePoints('m');
  if (point !== undefined) await store.deletePoint(point.reference);
}

/** Calls that get in each other's way are refused by a code; anything else ends the process with a 1. */
function refusedOnly(error) {
  if (
    ['CAPTURE_IN_PROGRESS', 'LAYERS_FULL', 'POINT_BUSY', 'POINT_NOT_FOUND', 'POINT_EXISTS', 'CANCELLED'].includes(
      error.code,
    )
  )
    return;
  throw error;
}

/** A worker that is terminated at a moment drawn from the seed. Resolves once the thread is gone. */
async function terminated(storePath, seed) {
  const below = chanceOf(seed);
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { storePath, seed } });
  const afterCalls = below(3) === 0 ? 0 : below(400);
  await new Promise((resolve, reject) => {
    let calls = 0;
    worker.on('error', reject);
    worker.on('message', () => {
      calls += 1;
      if (calls > afterCalls) resolve();
    });
    // At times before it has opened the store.
    if (afterCalls === 0) setTimeout(resolve, below(300));
  });
  await worker.terminate();
}

if (!isMainThread) {
  await beBusy(workerData.storePath, workerData.seed, () => parentPort.postMessage(0));
} else {
  const [kind, storePath, seed, count = '1'] = process.argv.slice(2);
  if (kind === 'exit') {
    const below = chanceOf(Number(seed) + 1);
    let left = below(3) === 0 ? 0 : below(400);
    if (left === 0) setTimeout(() => process.exit(0), below(200));
    await beBusy(path.resolve(storePath), Number(seed), () => {
      left -= 1;
      if (left === 0) process.exit(0);
    });
  }
  for (let index = 0; index < Number(count); index += 1) {
    await terminated(storePath, Number(seed) * 1000 + index);
    // What the worker held has to be let go: the store opens again, in this very process.
    await (await openedSoon(storePath)).close();
  }
}

/** The worker's last calls may be ending still. */
async function openedSoon(storePath) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await opened(storePath);
    } catch (error) {
      if (error.code !== 'STORE_LOCKED' || attempt > 500) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
