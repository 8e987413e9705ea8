/**
 * What does a small read cost, by where its bytes are?
 *
 * Unit: random reads of 4 KiB of one disk, everything in the page cache: bytes still in the log; bytes in chunks that were decoded a
 * moment ago; bytes in packs of which no chunk is decoded. Expected: from the log a `pread`, a checksum of 4 KiB and two
 * hand-overs, 15 us at depth 1; from a decoded chunk the same without the `pread`; from packs 34 us to decode a chunk and 21 to
 * check it come on top.
 */

import { openStore, type Disk } from 'stillpoint';

import { mostOf, type Figure } from '../figure.js';
import { blocks, KiB, liveStore, MiB, placesOn, requests, settled } from './load.js';
import type { LiveContext, LiveSuite } from './size.js';

const figure = mostOf('4 KiB reads');
const cachedBytes = 32 * MiB;

export const reads: LiveSuite = {
  name: 'reads',
  question: 'What does a small read cost, by where its bytes are?',
  run,
};

async function run({ size, directory, say }: LiveContext): Promise<Figure[]> {
  const sizeBytes = size.readBytes;
  const made = await liveStore(directory, 1, sizeBytes);
  const block = blocks(64 * KiB);
  const rates = new Map<string, number[]>();
  const measure = async (from: string, disk: Disk, bytes: number): Promise<void> => {
    for (const depth of [1, 32]) {
      const place = placesOn(bytes, 4 * KiB, 3);
      const count = Math.ceil(size.requests / (depth === 1 ? 4 : 2));
      const { perSecond } = await requests(
        depth,
        (done) => done >= count,
        () => disk.read(place(), 4 * KiB),
      );
      const what = `${from}, depth ${depth}`;
      rates.set(what, [...(rates.get(what) ?? []), perSecond]);
      say(`reads: ${what}: ${Math.round(perSecond)} a second`);
    }
  };
  const [disk] = made.disks;
  if (disk === undefined) throw new Error('a disk was made');
  await requests(
    8,
    (done) => done * 64 * KiB >= sizeBytes,
    (index) => disk.write(index * 64 * KiB, block(index)),
  );
  for (let run = 0; run < size.runs; run += 1) await measure('from the log', disk, Math.min(sizeBytes, 128 * MiB));
  const point = await made.store.capture('m');
  await point.copied();
  await settled(made.store);
  await made.store.close();
  for (let run = 0; run < size.runs; run += 1) {
    await using store = await openStore({ path: made.path });
    const again = await store.disk(disk.name);
    await measure('from packs', again, sizeBytes);
    const within = Math.min(sizeBytes, cachedBytes);
    for (let at = 0; at < within; at += MiB) await again.read(at, MiB);
    await measure('from decoded chunks', again, within);
  }
  return [...rates].map(([what, values]) => figure(what, values, 'per s'));
}
