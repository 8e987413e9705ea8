/** A figure: what was measured, and what the design says that it must and may reach. */

import { spreadOf } from './spread.js';
import { table } from './table.js';

export interface Figure {
  readonly suite: string;
  readonly what: string;
  readonly value: number;
  /** Least and most of several runs of which the value is the median; null where it was taken once. */
  readonly least: number | null;
  readonly most: number | null;
  readonly unit: string;
  /** The value that is good enough, in the same unit; null where the design names none. */
  readonly must: number | null;
  readonly aim: number | null;
  /** Whether more is better; less is, else. */
  readonly isMost: boolean;
}

export interface Bar {
  readonly must?: number;
  readonly aim?: number;
}

/** Makes a figure of one value, or of the values of several runs. */
export type FigureMaker = (what: string, values: number | readonly number[], unit: string, bar?: Bar) => Figure;

/** Makes the figures of a suite of which less is better. */
export function leastOf(suite: string): FigureMaker {
  return (what, values, unit, bar = {}) => made(suite, what, values, unit, bar, false);
}

/** Makes the figures of a suite of which more is better. */
export function mostOf(suite: string): FigureMaker {
  return (what, values, unit, bar = {}) => made(suite, what, values, unit, bar, true);
}

function made(
  suite: string,
  what: string,
  values: number | readonly number[],
  unit: string,
  { must, aim }: Bar,
  isMost: boolean,
): Figure {
  const spread = typeof values === 'number' ? null : spreadOf(values);
  const value = typeof values === 'number' ? values : (spread?.median ?? Number.NaN);
  const [least, most] = [spread?.min ?? null, spread?.max ?? null];
  return { suite, what, value, least, most, unit, must: must ?? null, aim: aim ?? null, isMost };
}

export function figureTable(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    `${figure.suite}: ${figure.what}`,
    `${shown(figure.value)} ${figure.unit}`.trim(),
    figure.least === null || figure.most === null ? '' : `${shown(figure.least)} to ${shown(figure.most)}`,
    figure.must === null ? '' : shown(figure.must),
    figure.aim === null ? '' : shown(figure.aim),
    verdict(figure),
  ]);
  return table(['figure', 'measured', 'spread', 'must', 'aim', ''], rows);
}

function verdict({ value, must, aim, isMost }: Figure): string {
  const reaches = (bar: number): boolean => (isMost ? value >= bar : value <= bar);
  if (must === null) return '';
  if (!reaches(must)) return 'SHORT';
  return aim === null || reaches(aim) ? 'reached' : 'must';
}

/** Three digits that count, and whole numbers as they are. */
function shown(value: number): string {
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en-US');
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}
