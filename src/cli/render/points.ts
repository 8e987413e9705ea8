/** Restore points as people read them. */

import type { RestorePoint } from '../../index.js';
import type { PortablePoint } from '../../control/commands/portable-restore.js';
import { fields, table } from './layout.js';
import { configurationText } from './machines.js';
import { bold, type Style } from './style.js';
import { formatBytes, formatCount, formatDuration, formatMode, formatRate, formatTime, rateOf } from './units.js';

function capturedDisks<Disk extends { readonly excluded: boolean }>(disks: readonly Disk[]): Disk[] {
  return disks.filter((disk) => !disk.excluded);
}

function totalSize(disks: readonly { readonly excluded: boolean; readonly sizeBytes: number }[]): number {
  return capturedDisks(disks).reduce((sum, disk) => sum + disk.sizeBytes, 0);
}

/** One line for each point. */
export async function pointTable(points: readonly RestorePoint[], style: Style): Promise<string> {
  const rows = points.map((point) => [
    point.reference,
    formatTime(point.createdMs, style),
    formatMode(point.consistency.reached),
    formatCount(capturedDisks(point.disks).length),
    formatBytes(totalSize(point.disks)),
    formatBytes(point.captured.bytesNew),
    formatBytes(point.captured.bytesStored),
    point.completionPercent === undefined ? point.state : `${point.state} ${point.completionPercent}%`,
  ]);
  const columns = [
    { title: 'POINT' },
    { title: 'CREATED' },
    { title: 'CONSISTENCY' },
    { title: 'DISKS', align: 'right' },
    { title: 'SIZE', align: 'right' },
    { title: 'NEW', align: 'right' },
    { title: 'STORED', align: 'right' },
    { title: 'STATE' },
  ] as const;
  return table(style, columns, rows);
}

/** One line for each point that the portable reader found. */
export async function portablePointTable(points: readonly PortablePoint[], style: Style): Promise<string> {
  const rows = points.map((point) => [
    `${point.machine.name}/${point.collection.name}/${point.name}`,
    formatTime(point.createdMs, style),
    capturedDisks(point.disks)
      .map((disk) => `${disk.role} ${formatBytes(disk.sizeBytes)}`)
      .join(', '),
  ]);
  return table(style, [{ title: 'POINT' }, { title: 'CREATED' }, { title: 'DISKS' }], rows);
}

function consistencyText({ requested, reached }: RestorePoint['consistency']): string {
  const asked = requested === null || requested === reached ? '' : `, asked for ${formatMode(requested)}`;
  return `${formatMode(reached)}${asked}`;
}

function capturedText({ captured, lsn, state }: RestorePoint): string {
  const durationMs = captured.endedMs - captured.startedMs;
  // Of managed disks only what is logged is read; a scan reads what there is.
  const isUnchanged = captured.bytesRead === 0 && captured.bytesNew === 0;
  if (state === 'copied' && lsn !== undefined && isUnchanged) return 'nothing had changed';
  const parts = [
    `${formatBytes(captured.bytesRead)} read`,
    `${formatBytes(captured.bytesNew)} new`,
    `${formatBytes(captured.bytesStored)} stored`,
  ];
  return `${parts.join(', ')} in ${formatDuration(durationMs)}`;
}

/** One point with its disks. */
export async function pointDetail(point: RestorePoint, style: Style): Promise<string> {
  const disks = await table(
    style,
    [{ title: 'DISK' }, { title: 'SIZE', align: 'right' }, { title: 'SECTOR', align: 'right' }, { title: 'SOURCE' }],
    point.disks.map((disk) => [
      disk.role,
      disk.excluded ? 'excluded' : formatBytes(disk.sizeBytes),
      `${disk.sectorBytes} B`,
      disk.kind === 'managed' ? disk.name : disk.source,
    ]),
    '  ',
  );
  const facts = fields(style, [
    ['id', point.id],
    ['created', formatTime(point.createdMs, style)],
    ['state', stateText(point)],
    [
      'held',
      point.hold === undefined ? null : `since ${formatTime(point.hold.createdMs, style)}: ${point.hold.reason}`,
    ],
    ['record', point.lsn ?? null],
    ['consistency', consistencyText(point.consistency)],
    ['captured', point.state === 'cut' ? null : capturedText(point)],
    ['configuration', configurationText(point.configuration)],
  ]);
  return `${bold(style, point.reference)}\n${facts}\n\n${disks}`;
}

function stateText(point: RestorePoint): string {
  const { failure, completionPercent } = point;
  if (completionPercent !== undefined) return `${point.state}, ${completionPercent}% copied`;
  return failure === undefined ? point.state : `${point.state}: ${failure.message} (${failure.code})`;
}

/** What a point of managed disks took; null while that is not known. */
function copiedText({ state, captured }: RestorePoint): string | null {
  if (state === 'cut') return null;
  return `${formatBytes(captured.bytesNew)} new, ${formatBytes(captured.bytesStored)} stored`;
}

/** What holding a point, or letting it go, is answered with. */
export function holdSentence({ reference, hold }: RestorePoint): string {
  return hold === undefined ? `${reference} is not held` : `${reference} is held: ${hold.reason}`;
}

/** What a capture is answered with. */
export function captureSentence(point: RestorePoint, style: Style): string {
  const { captured } = point;
  const excluded = point.disks.filter((disk) => disk.excluded).map((disk) => disk.role);
  const rate = formatRate(rateOf(captured.bytesRead, captured.endedMs - captured.startedMs));
  return [
    `captured ${bold(style, point.reference)}`,
    fields(style, [
      ['disks', `${formatCount(capturedDisks(point.disks).length)}, ${formatBytes(totalSize(point.disks))}`],
      ['excluded', excluded.length === 0 ? null : excluded.join(', ')],
      ['consistency', consistencyText(point.consistency)],
      ['record', point.lsn ?? null],
      ['captured', point.lsn === undefined ? `${capturedText(point)} (${rate})` : copiedText(point)],
    ]),
  ].join('\n');
}
