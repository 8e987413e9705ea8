/** A comparison as a table: one block for each case, ratios to ours. */

import type { Spread } from '../spread.js';
import { table } from '../table.js';
import type { CaseResult, Entry } from './comparison.js';

export function comparisonTable(results: readonly CaseResult[]): string {
  return results
    .filter(({ entries }) => entries.length > 0)
    .map((result) => {
      const ofProcess = result.case.unit === 's' ? ['processor', 'memory'] : [];
      const header = [result.case.title, 'median', 'min-max', 'ratio', ...ofProcess];
      return table(
        header,
        result.entries.map((entry) => row(result, entry)),
      );
    })
    .join('\n\n');
}

function row({ case: { unit } }: CaseResult, entry: Entry): string[] {
  const value = (number: number): string => (unit === 's' ? number.toFixed(2) : number.toFixed(0));
  const { median, min, max } = entry.value;
  return [
    entry.contender,
    `${value(median)} ${unit}`,
    `${value(min)}-${value(max)}`,
    entry.ratio === null ? '' : entry.ratio.toFixed(2),
    medianOf(entry.processorSeconds, (seconds) => `${seconds.toFixed(2)} s`),
    medianOf(entry.memoryBytes, (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`),
  ];
}

function medianOf(spread: Spread | null, text: (value: number) => string): string {
  return spread === null ? '' : text(spread.median);
}
