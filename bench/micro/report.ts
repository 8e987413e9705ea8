/** Micro figures as a table. */

import { table } from '../table.js';
import type { MicroFigure } from './measure.js';

const header = ['suite: case', 'unit', 'median', 'deviation', 'fastest', 'rate', 'expected', 'runs'];

export function microTable(figures: readonly MicroFigure[]): string {
  return table(
    header,
    figures.map((figure) => [
      `${figure.suite}: ${figure.case}`,
      figure.unit,
      duration(figure.medianMicroseconds),
      duration(figure.deviationMicroseconds),
      duration(figure.minMicroseconds),
      figure.bytesPerSecond === null ? '' : `${(figure.bytesPerSecond / 1e9).toFixed(2)} GB/s`,
      duration(figure.expectedMicroseconds),
      String(figure.runs),
    ]),
  );
}

/** Three digits that count. */
function duration(microseconds: number): string {
  if (microseconds >= 1_000) return `${(microseconds / 1_000).toPrecision(3)} ms`;
  if (microseconds >= 1) return `${microseconds.toPrecision(3)} us`;
  return `${(microseconds * 1_000).toFixed(0)} ns`;
}
