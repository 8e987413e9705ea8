/**
 * How long does a block map take to build?
 *
 * Unit: one map of 65,536 different chunks (4 GiB), on one core: 1,024 leaves of 2 KiB, 16 nodes above, the root.
 * Expected: each node is encoded (1 us), hashed (2 KiB use two of the hash's lanes: 2 us), looked up (nothing yet: 0.2 us)
 * and appended with its checksum (1 us); making up its ids takes the bench 0.5 us: 5 ms in all.
 */

import { addon } from './addon.js';
import { chunkBytes, level, type Suite } from './suite.js';

export const map: Suite = {
  name: 'map',
  question: 'How long does a block map take to build?',
  open: (size) => {
    const probe = new addon.NativeProbe(chunkBytes, level);
    const run = (): void => probe.buildMap(size.builtMapChunks);
    const name = `map of ${size.builtMapChunks} chunks`;
    return { cases: [{ name, unit: 'map', operations: 1, bytes: null, expectedMicroseconds: 5_000, run }] };
  },
};
