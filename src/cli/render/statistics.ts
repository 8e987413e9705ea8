/** What machines and points take, as people read it. */

import type { StoreStatistics } from '../../index.js';
import { fields, table, type Column } from './layout.js';
import { yellow, type Style } from './style.js';
import { formatBytes, formatCount, formatCountOf } from './units.js';

const right = (title: string): Column => ({ title, align: 'right' });

const ratioText = (ratio: number | null): string => (ratio === null ? '-' : `${ratio.toFixed(2)} : 1`);

/** The store's sums, a table of machines, and one of points. */
export async function statisticsReport(result: StoreStatistics, style: Style): Promise<string> {
  const { store, machines, points } = result;
  const lines = [
    fields(style, [
      ['logical', `${formatBytes(store.logicalBytes)} (${formatBytes(store.dataBytes)} data)`],
      ['distinct', formatBytes(store.distinctBytes)],
      [
        'stored',
        `${formatBytes(store.storedBytes)} (${formatCount(store.chunks)} chunks, ${formatCount(store.nodes)} map nodes)`,
      ],
      ['garbage', formatBytes(store.garbageBytes)],
      ['deduplication', ratioText(store.deduplication)],
      ['compression', ratioText(store.compression)],
    ]),
  ];
  if (store.missing > 0) {
    const missing = formatCountOf(store.missing, 'chunk or map node is', 'chunks and map nodes are');
    lines.push(`  ${yellow(style, `${missing} in no pack`)}; run verify`);
  }
  if (machines.length > 0) {
    const columns = [
      { title: 'MACHINE' },
      right('POINTS'),
      right('LOGICAL'),
      right('DATA'),
      right('DISTINCT'),
      right('STORED'),
      right('FREED IF DELETED'),
    ];
    const rows = machines.map((machine) => [
      machine.machine,
      formatCount(machine.points),
      formatBytes(machine.logicalBytes),
      formatBytes(machine.dataBytes),
      formatBytes(machine.distinctBytes),
      formatBytes(machine.storedBytes),
      formatBytes(machine.freedBytes),
    ]);
    lines.push('', await table(style, columns, rows, '  '));
  }
  if (points.length > 0) {
    const columns = [
      { title: 'POINT' },
      right('LOGICAL'),
      right('DATA'),
      right('ADDED'),
      right('UNIQUE'),
      right('FREED IF DELETED'),
    ];
    const rows = points.map((point) => [
      point.point,
      formatBytes(point.logicalBytes),
      formatBytes(point.dataBytes),
      formatBytes(point.addedBytes),
      formatBytes(point.uniqueBytes),
      formatBytes(point.freedBytes),
    ]);
    lines.push('', await table(style, columns, rows, '  '));
  }
  return lines.join('\n');
}
