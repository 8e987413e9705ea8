/** A process that leaves records in the log of disk `d0` and kills itself before anything is folded or closed. */

import process from 'node:process';

import { openStore } from 'stillpoint';

import { blocks, KiB, placesOn, requests } from './load.js';

export async function writeAndDie(storePath: string, bytes: number): Promise<never> {
  const store = await openStore({ path: storePath });
  const disk = await store.disk('d0');
  const block = blocks(4 * KiB);
  const place = placesOn(disk.info.sizeBytes, 4 * KiB, 5);
  await requests(
    32,
    (done) => done * 4 * KiB >= bytes,
    (index) => disk.write(place(), block(index)),
  );
  process.kill(process.pid, 'SIGKILL');
  throw new Error('killed');
}
