/** All micro benches, from the smallest piece to the largest. */

import { boundary } from './boundary.bench.js';
import { chunkStore } from './chunk-store.bench.js';
import { codec } from './codec.bench.js';
import { compare } from './compare.bench.js';
import { diff } from './diff.bench.js';
import { hash } from './hash.bench.js';
import { map } from './map.bench.js';
import type { Suite } from './suite.js';

export const suites: readonly Suite[] = [hash, compare, codec, chunkStore, map, diff, boundary];
