/** A figure of the scale bench: what was measured, and what the design says that it must and may reach. */

import { table } from '../table.js';

export interface ScaleFigure {
  readonly suite: string;
  readonly what: string;
  readonly value: number;
  readonly unit: 'ms' | 'us' | 'MiB' | 'count' | 'per s';
  /** The largest value that is good enough, in the same unit; null where the design names none. */
  readonly must: number | null;
  readonly aim: number | null;
}

/** Makes the figures of a suite. */
export function figuresOf(suite: string): FigureMaker {
  return (what, value, unit, bar = {}) => ({
    ...{ suite, what, value, unit },
    must: bar.must ?? null,
    aim: bar.aim ?? null,
  });
}

export type FigureMaker = (
  what: string,
  value: number,
  unit: ScaleFigure['unit'],
  bar?: { readonly must?: number; readonly aim?: number },
) => ScaleFigure;

export function scaleTable(figures: readonly ScaleFigure[]): string {
  const rows = figures.map(({ suite, what, value, unit, must, aim }) => [
    `${suite}: ${what}`,
    `${shown(value)} ${unit === 'count' ? '' : unit}`.trim(),
    must === null ? '' : shown(must),
    aim === null ? '' : shown(aim),
    must === null ? '' : value <= must ? (aim === null || value <= aim ? 'reached' : 'must') : 'SHORT',
  ]);
  return table(['figure', 'measured', 'must', 'aim', ''], rows);
}

/** Three digits that count, and whole numbers as they are. */
function shown(value: number): string {
  if (value >= 1_000) return Math.round(value).toLocaleString('en-US');
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}
