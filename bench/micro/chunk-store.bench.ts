/**
 * What does a chunk cost on its way in and out of the store?
 *
 * Unit: one chunk of 64 KiB of text, on one core, packs in memory. Putting hashes it, looks it up, encodes and verifies
 * it and appends the frame; the pack is dropped, so no sync is in it. Getting looks it up, reads the frame, checks
 * its checksum, decodes it and proves its id.
 * Expected: put is hash 16, encode 245, checksum and append 10: 270 us. Get is look-up and read 5, checksum 2,
 * decode 45, hash 16: 70 us.
 */

import { addon } from './addon.js';
import { sampleOf } from './sample.js';
import { chunkBytes, level, type Suite } from './suite.js';

export const chunkStore: Suite = {
  name: 'chunk-store',
  question: 'What does a chunk cost on its way in and out of the store?',
  open: (size) => {
    const probe = new addon.NativeProbe(chunkBytes, level);
    probe.load(sampleOf('text', size.sampleChunks));
    const common = { unit: 'chunk', operations: size.sampleChunks, bytes: chunkBytes };
    const put = (): void => probe.put();
    const get = (): void => probe.get();
    return {
      cases: [
        { ...common, name: 'put', expectedMicroseconds: 270, run: put },
        { ...common, name: 'get', expectedMicroseconds: 70, run: get },
      ],
    };
  },
};
