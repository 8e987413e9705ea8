/** Times and memory of this process. */

import { readFileSync } from 'node:fs';

import { spreadOf } from '../spread.js';

/** Anonymous memory now: what no file stands behind, whoever allocated it. */
export function anonymousBytes(): number {
  return kibibytes('/proc/self/smaps_rollup', /^Anonymous:\s+(\d+) kB/m) * 1024;
}

/** Largest resident memory so far. */
export function peakBytes(): number {
  return kibibytes('/proc/self/status', /^VmHWM:\s+(\d+) kB/m) * 1024;
}

export const mebibytes = (bytes: number): number => bytes / 2 ** 20;

/** Milliseconds that some work takes. */
export async function millisecondsOf(work: () => unknown): Promise<number> {
  const started = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - started) / 1e6;
}

/** Milliseconds of each of several runs. */
export async function timesOf(count: number, work: (index: number) => unknown): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < count; index += 1) times.push(await millisecondsOf(() => work(index)));
  return times;
}

export function median(values: readonly number[]): number {
  return spreadOf(values)?.median ?? Number.NaN;
}

function kibibytes(file: string, pattern: RegExp): number {
  const found = pattern.exec(readFileSync(file, 'utf8'))?.[1];
  if (found === undefined) throw new Error(`${file} does not say ${pattern.source}`);
  return Number(found);
}
