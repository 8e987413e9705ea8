/** Tables and field lists: aligned columns, two blanks between them, no lines. */

import { bold, dim, type Style } from './style.js';

/** A column of a table. */
export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

const noBorders = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** A table with a title row; every line indented by `indent`. */
export async function table(
  style: Style,
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  indent = '',
): Promise<string> {
  const { default: Table } = await import('cli-table3');
  const grid = new Table({
    head: columns.map((column) => bold(style, column.title)),
    colAligns: columns.map((column) => column.align ?? 'left'),
    chars: noBorders,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0, compact: true },
  });
  for (const row of rows) grid.push([...row]);
  return grid
    .toString()
    .split('\n')
    .map((line) => `${indent}${line}`.trimEnd())
    .join('\n');
}

/** Names and values below each other; values that are null are left out. */
export function fields(style: Style, pairs: readonly (readonly [string, string | null])[], indent = '  '): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${indent}${dim(style, name.padEnd(width))}  ${value ?? ''}`)
    .join('\n');
}
