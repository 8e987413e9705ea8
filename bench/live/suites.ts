/** All suites of the live bench, and the way to run one. */

import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';

import { cuts } from './cut.suite.js';
import type { Figure } from '../figure.js';
import { largeWrites } from './large.suite.js';
import { opening } from './open.suite.js';
import { reads } from './read.suite.js';
import { smallWrites } from './requests.suite.js';
import type { LiveContext, LiveSuite } from './size.js';
import { sustained } from './sustain.suite.js';

export const suites: readonly LiveSuite[] = [cuts, smallWrites, largeWrites, reads, sustained, opening];

/** Runs a suite in a directory of its own below `place`, which is removed afterwards. */
export async function runSuite(
  suite: LiveSuite,
  place: string,
  context: Omit<LiveContext, 'directory'>,
): Promise<readonly Figure[]> {
  const directory = await mkdtemp(path.join(place, `stillpoint-live-${suite.name}-`));
  try {
    return await suite.run({ ...context, directory });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
