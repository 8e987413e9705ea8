/**
 * Long suites: where they note how far they are, and what stays in docs/evidence when they are done.
 *
 * A suite that goes over a range of seeds writes `<suite>.json` into the folder that STILLPOINT_TEST_PROGRESS names:
 * `{ "suite", "first", "next", "end", "counts": { word: number }, "seconds" }`, where seeds from `first` up to and
 * without `next` have passed and `end` is the first that is not wanted. It goes on from `next` when the file is there.
 * The folder is named for the sources, so that a change of any of them starts from the beginning.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';

import { fingerprintOf } from './fingerprint.mjs';
import { cache, inRoot } from './root.mjs';
import { mustRun, run, say } from './run.mjs';

const folder = path.join(cache, 'test-full');

/** The folder for the sources as they are; progress made on other sources is removed. */
export function progressFolder({ fresh }) {
  const name = fingerprintOf(['src', 'native', 'test', 'fixtures', 'package-lock.json']).slice(0, 16);
  mkdirSync(folder, { recursive: true });
  for (const other of readdirSync(folder)) {
    if (fresh || other !== name) rmSync(path.join(folder, other), { recursive: true, force: true });
  }
  const progress = path.join(folder, name);
  mkdirSync(progress, { recursive: true });
  return progress;
}

/** The commit, with `+changes` where the tree differs from it; evidence itself is no change. */
async function commitName() {
  const { code, text } = await run('git', ['rev-parse', 'HEAD'], { output: 'capture', missing: 'git not found' });
  if (code !== 0) return 'none';
  const changed = await mustRun('git', ['status', '--porcelain', '--', '.', ':!docs/evidence'], { output: 'capture' });
  return changed.trim() === '' ? text.trim() : `${text.trim()}+changes`;
}

/** Writes what finished suites noted into docs/evidence; a suite that did not finish keeps its progress. */
export async function keepEvidence(progress) {
  const commit = await commitName();
  mkdirSync(inRoot('docs/evidence'), { recursive: true });
  for (const name of readdirSync(progress).filter((each) => each.endsWith('.json'))) {
    const { suite, first, next, end, counts, seconds } = JSON.parse(readFileSync(path.join(progress, name), 'utf8'));
    if (next < end) {
      say(`${suite}: seeds ${first} to ${next - 1} of ${end - 1} passed; npm run test:full goes on from there`);
      continue;
    }
    const evidence = {
      suite,
      commit,
      seeds: { first, last: end - 1 },
      counts,
      seconds: Math.round(seconds),
      finished: new Date().toISOString(),
      machine: {
        node: process.versions.node,
        platform: `${process.platform} ${process.arch}`,
        cores: availableParallelism(),
      },
    };
    writeFileSync(inRoot('docs/evidence', `${suite}.json`), `${JSON.stringify(evidence, null, 2)}\n`);
    say(`docs/evidence/${suite}.json: seeds ${first} to ${end - 1} at ${commit}`);
  }
}

/** Forgets the progress, so that the next full run starts from the beginning. */
export function forgetProgress(progress) {
  if (existsSync(progress)) rmSync(progress, { recursive: true, force: true });
}
