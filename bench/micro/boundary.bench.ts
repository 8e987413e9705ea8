/**
 * What does a call across the boundary cost?
 *
 * Unit: one call. The first does nothing and comes back; the second reads 4 KiB of a restore point in a store on disk and
 * resolves a promise, as `store.read` does it.
 * Expected: an empty call is 0.1 us. A read starts a thread (20 us), reads and proves one chunk (70 us for 64 KiB of
 * text), and settles the promise on the main thread (20 us): 110 us.
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

import type { Failure, NativeEngine } from '../../src/native/generated/binding.cjs';
import { addon } from './addon.js';
import { sampleOf } from './sample.js';
import { chunkBytes, level, type Suite } from './suite.js';

const pointId = '1'.repeat(32);
const diskId = '2'.repeat(32);
const readBytes = 4096;

/** Calls of one run of the empty call: one alone is shorter than the clock can tell. */
const emptyCalls = 1_000;

export const boundary: Suite = {
  name: 'boundary',
  question: 'What does a call across the boundary cost?',
  open: async (size) => {
    const directory = await mkdtemp(path.join(tmpdir(), 'stillpoint-bench-'));
    const engine = await storeWithPoint(directory, size.sampleChunks);
    const probe = new addon.NativeProbe(chunkBytes, level);
    let chunk = 0;
    const nothing = (): void => {
      for (let call = 0; call < emptyCalls; call += 1) probe.nothing();
    };
    const read = async (): Promise<void> => {
      chunk = (chunk + 1) % size.sampleChunks;
      valueOf(await engine.read(pointId, diskId, chunk * chunkBytes, readBytes));
    };
    return {
      cases: [
        { name: 'nothing', unit: 'call', operations: emptyCalls, bytes: null, expectedMicroseconds: 0.1, run: nothing },
        { name: 'read 4 KiB', unit: 'call', operations: 1, bytes: readBytes, expectedMicroseconds: 110, run: read },
      ],
      close: async () => {
        valueOf(await engine.close());
        await rm(directory, { recursive: true });
      },
    };
  },
};

/** A store with one point of one disk, opened. */
async function storeWithPoint(directory: string, chunkCount: number): Promise<NativeEngine> {
  const [store, image] = [path.join(directory, 'store'), path.join(directory, 'image')];
  await writeFile(image, sampleOf('text', chunkCount));
  valueOf(await addon.createStore(store, chunkBytes, 'zstd', level));
  const engine = valueOf(await addon.openStore(store, false, 1, 0));
  await wait(50); // a source must have been still for 20 ms
  const disk = { diskId, path: image, sectorBytes: 512, frozen: false };
  const scan = valueOf(await engine.scan([disk], new addon.NativeOperation()));
  valueOf(await scan.publish(pointId, 0, '{}'));
  return engine;
}

function valueOf<T>(outcome: T | Failure): Exclude<T, Failure> {
  if (typeof outcome === 'object' && outcome !== null && 'code' in outcome && 'kind' in outcome) {
    throw new Error(outcome.message);
  }
  return outcome as Exclude<T, Failure>;
}
