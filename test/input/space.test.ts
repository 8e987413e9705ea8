/** Law: after all points are deleted and collected, a store takes an empty one's space + 1 % of its peak + 1 MiB. */

import { openSync, closeSync, writeSync } from 'node:fs';

import { expect, it } from 'vitest';

import { createStore } from '../../src/index.js';
import { runs } from '../house/size.js';
import { bytesBelow, smallStore, withOpen } from './small-store.js';
import { noise, still } from './temporary.js';

const MiB = 1024 ** 2;
const imageBytes = 16 * MiB;

it('a store without points takes hardly more than an empty one', async () => {
  const store = await smallStore({ content: noise(1, imageBytes) });
  const emptyPath = store.at('empty');
  await createStore({ path: emptyPath });
  await withOpen(emptyPath, async (open) => {
    await open.createVirtualMachine({ name: 'web1', disks: [{ role: 'os', external: store.image }] });
  });
  let peak = 0;

  for (let round = 1; round <= runs(8, 120); round += 1) {
    const image = openSync(store.image, 'r+');
    writeSync(image, noise(1000 + round, 2 * MiB), 0, 2 * MiB, (round % 8) * 2 * MiB);
    closeSync(image);
    await still(store.image);
    await withOpen(store.path, async (open) => {
      await open.capture('web1', { name: `rp${round}` });
      // Some go in between, so that packs are rewritten as well as removed.
      if (round % 3 === 0) {
        await open.deletePoint(`web1/rp${round - 1}`);
        await open.collect();
      }
    });
    peak = Math.max(peak, bytesBelow(store.path));
  }
  await withOpen(store.path, async (open) => {
    for (const { reference } of await open.restorePoints()) await open.deletePoint(reference);
    await open.collect();
  });

  expect(peak).toBeGreaterThan(imageBytes);
  expect(bytesBelow(store.path)).toBeLessThanOrEqual(bytesBelow(emptyPath) + peak / 100 + MiB);
  await withOpen(store.path, async (open) => expect((await open.capture('web1')).state).toBe('copied'));
});
