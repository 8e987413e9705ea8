/**
 * How long does the name of a chunk take?
 *
 * Unit: one chunk of 64 KiB, on one core. Every chunk that is read is hashed, changed or not, so this bounds a capture.
 * Expected: BLAKE3 does about 4 GB/s a core with AVX2 (8 lanes, about 0.75 cycles a byte at 3 GHz): 16 us. The key
 * costs nothing, and the kind of bytes does not matter.
 */

import { addon } from './addon.js';
import { sampleOf } from './sample.js';
import { chunkBytes, level, type Suite } from './suite.js';

export const hash: Suite = {
  name: 'hash',
  question: 'How long does the name of a chunk take?',
  open: (size) => {
    const probe = new addon.NativeProbe(chunkBytes, level);
    probe.load(sampleOf('random', size.sampleChunks));
    const run = (): void => probe.hash();
    return {
      cases: [
        {
          name: 'keyed BLAKE3',
          unit: 'chunk',
          operations: size.sampleChunks,
          bytes: chunkBytes,
          expectedMicroseconds: 16,
          run,
        },
      ],
    };
  },
};
