/**
 * How long does it take to see that a chunk is zero, or that it has not changed?
 *
 * Unit: one chunk of 64 KiB, on one core, as a capture does it. The image lies in the memory that stands in for a disk;
 * what reading it costs is the first case, to be taken off the others.
 * Expected: reading copies 16 pages and finds each in a tree: 8 us. The test for a fill compares the chunk with itself
 * shifted by one byte, at 20 GB/s: 3 us more; in other content it ends at the first pair. An unchanged chunk is hashed
 * (16 us) and its id compared with the parent's: 25 us with the read.
 */

import { addon } from './addon.js';
import { sampleOf } from './sample.js';
import { chunkBytes, level, type MicroCase, type Suite } from './suite.js';

export const compare: Suite = {
  name: 'compare',
  question: 'How long does it take to see that a chunk is zero, or that it has not changed?',
  open: (size) => {
    const zero = new addon.NativeProbe(chunkBytes, level);
    zero.load(sampleOf('zero', size.sampleChunks));
    const random = new addon.NativeProbe(chunkBytes, level);
    random.load(sampleOf('random', size.sampleChunks));
    const ofChunk = (name: string, expectedMicroseconds: number, run: () => void): MicroCase => {
      return { name, unit: 'chunk', operations: size.sampleChunks, bytes: chunkBytes, expectedMicroseconds, run };
    };
    return {
      cases: [
        ofChunk('read only', 8, () => zero.readImage()),
        ofChunk('read, found to be zero', 11, () => zero.scanUnchanged()),
        ofChunk('read, found unchanged', 25, () => random.scanUnchanged()),
      ],
    };
  },
};
