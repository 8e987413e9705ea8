/**
 * A process that captures, deletes and collects until it is killed, and says on stdout what it is about to do and
 * what was acknowledged. Arguments: store, folder of the images, seed, name of the first point.
 *
 * Each line is in the pipe before the next step begins, so a kill loses none.
 */

import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import path from 'node:path';

import { openStore } from 'stillpoint';
import { contentBytes, seededRandom } from 'stillpoint/testing';

const [storePath, folder, seed, firstName] = process.argv.slice(2);
const random = seededRandom(Number(seed));
const below = (limit) => random.bytes(2).reduce((value, byte) => value * 256 + byte, 0) % limit;
const say = (line) => writeSync(1, `${JSON.stringify(line)}\n`);
const kinds = ['random', 'text', 'frame', 'dictionary'];

function change(image) {
  const file = openSync(image, 'r+');
  for (let count = 1 + below(4); count > 0; count -= 1) {
    const bytes = contentBytes({ kind: kinds[below(kinds.length)], seed: below(1000) }, 512 * (1 + below(200)));
    writeSync(file, bytes, 0, bytes.length, 512 * below(3000));
  }
  ftruncateSync(file, 512 * (3000 + below(500)));
  closeSync(file);
}

const images = ['os', 'data'].map((role) => path.join(folder, `${role}.raw`));
const store = await openStore({ path: storePath });
let number = Number(firstName);
say({ did: 'open' });
for (;;) {
  const points = await store.restorePoints('busy');
  const choice = below(10);
  if (choice < 6 || points.length < 2) {
    for (const image of images) change(image);
    const name = `p${number}`;
    number += 1;
    const hashes = images.map((image) => createHash('sha256').update(readFileSync(image)).digest('hex'));
    say({ will: 'capture', name, hashes });
    for (;;) {
      try {
        await store.capture('busy', { name });
        break;
      } catch (error) {
        if (error.code !== 'SOURCE_NOT_STILL') throw error; // written a moment ago: once more
      }
    }
    say({ did: 'capture', name });
  } else if (choice < 8) {
    const { name } = points[below(points.length)];
    say({ will: 'delete', name });
    await store.deletePoint(`busy/${name}`);
    say({ did: 'delete', name });
  } else {
    say({ will: 'collect' });
    await store.collect();
    say({ did: 'collect' });
  }
}
