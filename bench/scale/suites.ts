/** All suites of the scale bench, and the way to run one. */

import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';

import { diff } from './diff.suite.js';
import type { ScaleFigure } from './figure.js';
import { index } from './index.suite.js';
import { points } from './points.suite.js';
import type { ScaleContext, ScaleSuite } from './size.js';
import { sparse } from './sparse.suite.js';

export const suites: readonly ScaleSuite[] = [index, diff, points, sparse];

/** Runs a suite in a directory of its own below `place`, which is removed afterwards. */
export async function runSuite(
  suite: ScaleSuite,
  place: string,
  context: Omit<ScaleContext, 'directory'>,
): Promise<readonly ScaleFigure[]> {
  const directory = await mkdtemp(path.join(place, `stillpoint-scale-${suite.name}-`));
  try {
    return await suite.run({ ...context, directory });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
