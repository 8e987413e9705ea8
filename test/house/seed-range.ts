/**
 * A suite that goes over a range of seeds: quick over a few, full over many, and then resumable.
 *
 * In a full run the driver names a folder in STILLPOINT_TEST_PROGRESS. How far the suite is, is noted there after each
 * seed; a run that was stopped goes on from the seed that had not passed, and a finished one does nothing again. When
 * it is done the driver keeps the counts, the seeds and the commit in docs/evidence/<suite>.json.
 */

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';

import { testSeed } from './seed.js';
import { runs } from './size.js';

/** What happened, by word: how many histories, crash states, flipped bytes. */
export type Counts = Readonly<Record<string, number>>;

export interface SeedRange {
  /** Name of the suite, as in `docs/evidence/<suite>.json`. */
  readonly suite: string;
  /** How many seeds a quick run takes. */
  readonly quick: number;
  /** How many seeds a full run takes. */
  readonly full: number;
}

interface Progress {
  readonly suite: string;
  readonly first: number;
  /** The first seed that has not passed. */
  readonly next: number;
  readonly end: number;
  readonly counts: Counts;
  readonly seconds: number;
}

function added(left: Counts, right: Counts): Counts {
  const total: Record<string, number> = { ...left };
  for (const [word, count] of Object.entries(right)) total[word] = (total[word] ?? 0) + count;
  return total;
}

/** What an earlier run noted for the same range, or null. */
function noted(file: string, first: number, end: number): Progress | null {
  try {
    // A cast: the file is our own, and the range is compared below.
    const progress = JSON.parse(readFileSync(file, 'utf8')) as Progress;
    return progress.first === first && progress.end === end ? progress : null;
  } catch {
    return null;
  }
}

function note(file: string, progress: Progress): void {
  mkdirSync(path.dirname(file), { recursive: true });
  const unfinished = `${file}.tmp`;
  writeFileSync(unfinished, JSON.stringify(progress));
  renameSync(unfinished, file);
}

/**
 * Runs `one` for each seed of the range, in order; prints the counts summed over all of them, and resolves with them.
 *
 * A seed that throws ends the range; the error names the seed, and STILLPOINT_TEST_SEED set to it begins there.
 */
export async function overSeeds(range: SeedRange, one: (seed: number) => Counts | Promise<Counts>): Promise<Counts> {
  const first = testSeed;
  const end = first + runs(range.quick, range.full);
  const folder = process.env['STILLPOINT_TEST_PROGRESS'];
  const file = folder === undefined ? null : path.join(folder, `${range.suite}.json`);
  const earlier = file === null ? null : noted(file, first, end);
  let counts = earlier?.counts ?? {};
  let seconds = earlier?.seconds ?? 0;
  for (let seed = earlier?.next ?? first; seed < end; seed += 1) {
    const startedMs = Date.now();
    try {
      counts = added(counts, await one(seed));
    } catch (cause) {
      throw new Error(`${range.suite}: seed ${seed} failed; STILLPOINT_TEST_SEED=${seed} begins with it`, { cause });
    }
    seconds += (Date.now() - startedMs) / 1000;
    if (file !== null) note(file, { suite: range.suite, first, next: seed + 1, end, counts, seconds });
  }
  const said = Object.entries(counts).map(([word, count]) => `${count} ${word}`);
  process.stdout.write(`${range.suite}: seeds ${first} to ${end - 1}: ${said.join(', ')}\n`);
  return counts;
}
