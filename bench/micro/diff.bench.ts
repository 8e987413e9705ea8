/**
 * How long does a diff of two points of a big disk take?
 *
 * Unit: one diff of two maps of 16.8 million chunks (1 TiB) that differ in 1,000 chunks, with no node cached, packs in
 * memory as in the page cache. The first map's chunks are all different; the second shares all of its unchanged nodes.
 * Expected: a node is looked up in an index of 266 thousand entries (1.5 us), read (1 us), checked (0.5 us), proven
 * (2 us) and decoded (0.5 us): 5.5 us. Clustered changes lie under 17 leaves, 40 nodes for both maps: 0.2 ms. Random ones
 * lie under 1,000 leaves and nearly as many nodes above, 4,000 for both maps: 22 ms.
 */

import { addon } from './addon.js';
import { chunkBytes, level, type MicroCase, type Suite } from './suite.js';

export const diff: Suite = {
  name: 'diff',
  question: 'How long does a diff of two points of a big disk take?',
  open: (size) => {
    const probe = new addon.NativeProbe(chunkBytes, level);
    let made: boolean | null = null;
    const caseOf = (clustered: boolean, expectedMicroseconds: number): MicroCase => ({
      name: `${size.changedChunks} of ${size.comparedMapChunks} chunks, ${clustered ? 'clustered' : 'random'}`,
      unit: 'diff',
      operations: 1,
      bytes: null,
      expectedMicroseconds,
      run: () => {
        // The maps are made by the case's first run, which is one of those that warm up.
        if (made !== clustered) probe.makeMaps(size.comparedMapChunks, size.changedChunks, clustered);
        made = clustered;
        return probe.diff();
      },
    });
    return { cases: [caseOf(true, 200), caseOf(false, 22_000)] };
  },
};
