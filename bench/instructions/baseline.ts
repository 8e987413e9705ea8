/** The committed counts, and what became of them. */

import { readFile, writeFile } from 'node:fs/promises';

import { inCheckout } from '../checkout.js';
import { table } from '../table.js';
import { paths, type Circumstances, type Counts } from './measure.js';

/** A path has changed when its count differs from the baseline's by more than this, either way. */
export const toleratedShare = 0.05;

export interface Baseline {
  readonly circumstances: Circumstances;
  readonly counts: Counts;
}

export interface Change {
  readonly path: string;
  /** Null where the baseline does not have the path. */
  readonly before: number | null;
  readonly now: number;
  /** Of `before`; null without one. */
  readonly share: number | null;
  readonly hasChanged: boolean;
}

const file = inCheckout('bench', 'instructions', 'baseline.json');

export async function readBaseline(): Promise<Baseline> {
  return JSON.parse(await readFile(file, 'utf8')) as Baseline;
}

/** Writes a new baseline and gives its path. */
export async function writeBaseline(baseline: Baseline): Promise<string> {
  await writeFile(file, `${JSON.stringify(baseline, null, 2)}\n`);
  return file;
}

/** Every measured path beside its baseline; a path that the baseline has not counts as changed. */
export function changesSince(baseline: Counts, counts: Counts): readonly Change[] {
  return Object.entries(counts).map(([path, now]) => {
    const before = baseline[path] ?? null;
    const share = before === null ? null : now / before - 1;
    // Not from `share`, which is rounded: 105 to 100 is no more than 5 %.
    const hasChanged = before === null || Math.abs(now - before) > before * toleratedShare;
    return { path, before, now, share, hasChanged };
  });
}

/** Where two machines differ in what counts depend on; empty when their counts can be compared. */
export function differences(baseline: Circumstances, here: Circumstances): readonly string[] {
  return (Object.keys(here) as (keyof Circumstances)[])
    .filter((name) => baseline[name] !== here[name])
    .map((name) => `${name} is ${here[name]}, the baseline's ${baseline[name]}`);
}

export function changeTable(changes: readonly Change[]): string {
  const number = (value: number | null): string => (value === null ? '-' : value.toLocaleString('en-US'));
  const rows = changes.map(({ path, before, now, share, hasChanged }) => [
    path,
    number(before),
    number(now),
    share === null ? 'new' : `${share >= 0 ? '+' : ''}${(share * 100).toFixed(1)} %`,
    hasChanged ? '<--' : '',
    paths.get(path) ?? '',
  ]);
  return table(['path', 'baseline', 'now', 'change', '', 'instructions for'], rows);
}
