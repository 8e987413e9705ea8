/** What lies in a pack is what docs/format.md says, in the eyes of the zstd program. */

import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { requireTool } from '../house/tools.js';
import { run, Stage } from './stage.js';

const zstd = requireTool('zstd');
const chunkBytes = 65_536;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.make();
});
afterAll(() => stage.end());

/** Stored bytes and plain length of every zstd frame of a pack, found through footer and trailer (sections 4.2, 4.4). */
function zstdFrames(pack: Buffer): { stored: Buffer; plainBytes: number }[] {
  const footer = pack.subarray(pack.length - 48);
  expect(footer.toString('latin1', 0, 8)).toBe('STILLEND');
  const trailer = Number(footer.readBigUInt64LE(16));
  return Array.from({ length: footer.readUInt32LE(8) }, (_, index) => {
    const entry = pack.subarray(trailer + index * 48);
    const at = entry.readUInt32LE(32);
    const stored = pack.subarray(at + 72, at + 72 + entry.readUInt32LE(36));
    return { stored, plainBytes: entry.readUInt32LE(40), codec: entry.readUInt8(44) };
  }).filter(({ codec }) => codec === 1);
}

it.skipIf(zstd.isMissing)('every stored chunk of an image decodes with zstd to the bytes of the image', async () => {
  const chunks = Array.from({ length: 12 }, (_, index) =>
    Buffer.alloc(chunkBytes, `chunk ${index} of an image that compresses well; `),
  );
  const image = stage.at('text.raw');
  await writeFile(image, Buffer.concat(chunks));
  await stage.capture('text', image, 'one');
  const folder = path.join(stage.storePath, 'home/packs');
  const packs = (await readdir(folder)).filter((name) => name.endsWith('.chunks'));
  const found: string[] = [];
  for (const name of packs) {
    for (const { stored, plainBytes } of zstdFrames(await readFile(path.join(folder, name)))) {
      const file = stage.at(`${found.length}.zst`);
      await writeFile(file, stored);
      expect(await run(zstd, '-q', '-t', file)).toBe('');
      await run(zstd, '-q', '-d', file, '-o', `${file}.plain`);
      const plain = await readFile(`${file}.plain`);
      expect(plain.length).toBe(plainBytes);
      found.push(plain.toString('latin1'));
    }
  }
  expect(found.sort()).toEqual(chunks.map((chunk) => chunk.toString('latin1')).sort());
});
