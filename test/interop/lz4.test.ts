/** What lies in a pack of a store with lz4 is what docs/format.md says, in the eyes of the lz4 program. */

import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { contentBytes } from '../../src/testing/index.js';
import { requireTool } from '../house/tools.js';
import { storedFrames } from './pack.js';
import { run, Stage } from './stage.js';

const lz4 = requireTool('lz4');
const chunkBytes = 65_536;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.make({ compression: 'lz4' });
});
afterAll(() => stage.end());

/** LZ4's legacy format, the only one that needs no checksum of its own: magic, length of the block, block. */
function legacyFile(block: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184c2102, 0);
  head.writeUInt32LE(block.length, 4);
  return Buffer.concat([head, block]);
}

it.skipIf(lz4.isMissing)('every stored chunk of an image decodes with lz4 to the bytes of the image', async () => {
  const chunks = Array.from({ length: 12 }, (_, index) => contentBytes({ kind: 'text', seed: index }, chunkBytes));
  const image = stage.at('text.raw');
  await writeFile(image, Buffer.concat(chunks));
  await stage.capture('text', image, 'one');
  const folder = path.join(stage.storePath, 'home/packs');
  const packs = (await readdir(folder)).filter((name) => name.endsWith('.chunks'));
  const found: string[] = [];
  for (const name of packs) {
    for (const { stored, plainBytes, codec } of storedFrames(await readFile(path.join(folder, name)))) {
      expect(codec).toBe(2);
      const file = stage.at(`${found.length}.lz4`);
      await writeFile(file, legacyFile(stored));
      await run(lz4, '-q', '-d', file, `${file}.plain`);
      const plain = await readFile(`${file}.plain`);
      expect(plain.length).toBe(plainBytes);
      found.push(plain.toString('latin1'));
    }
  }
  expect(found.sort()).toEqual(chunks.map((chunk) => Buffer.from(chunk).toString('latin1')).sort());
});
