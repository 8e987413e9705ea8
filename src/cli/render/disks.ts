/** Managed disks, and what was restored into the store, as people read them. */

import type { LiveRestoreResult } from '../../control/commands/restore-live.js';
import type { DiskInfo, RestoredMoment } from '../../index.js';
import { table } from './layout.js';
import { machineSentence, stateText } from './machines.js';
import { bold, type Style } from './style.js';
import { formatChosenBytes, formatCount, formatTime } from './units.js';

/** One line for each disk. */
export async function diskTable(disks: readonly DiskInfo[], style: Style): Promise<string> {
  const isAnyUnavailable = disks.some(({ unavailable }) => unavailable !== undefined);
  const rows = disks.map((disk) => [
    disk.name,
    disk.machine ?? '-',
    disk.role,
    formatChosenBytes(disk.sizeBytes),
    `${disk.sectorBytes} B`,
    limitsText(disk) ?? '-',
    formatTime(disk.createdMs, style),
    ...(isAnyUnavailable ? [stateText(disk)] : []),
  ]);
  const columns = [
    { title: 'DISK' },
    { title: 'MACHINE' },
    { title: 'ROLE' },
    { title: 'SIZE', align: 'right' },
    { title: 'SECTOR', align: 'right' },
    { title: 'LIMITS' },
    { title: 'CREATED' },
    ...(isAnyUnavailable ? [{ title: 'STATE' }] : []),
  ] as const;
  return table(style, columns, rows);
}

/** The disk's limits, as people read them; null where it has none. */
function limitsText({ limits: { operationsPerSecond, bytesPerSecond } }: DiskInfo): string | null {
  const operations = operationsPerSecond === null ? [] : [`${formatCount(operationsPerSecond)} operations/s`];
  const bytes = bytesPerSecond === null ? [] : [`${formatChosenBytes(bytesPerSecond)}/s`];
  const parts = [...operations, ...bytes];
  return parts.length === 0 ? null : parts.join(', ');
}

/** What a change of a disk is answered with. */
export function diskSentence(verb: string, disk: DiskInfo): string {
  const size = formatChosenBytes(disk.sizeBytes);
  if (verb === 'limited') return `limited ${disk.name}: ${limitsText(disk) ?? 'no limits'}`;
  if (verb === 'detached') return `detached ${disk.name}: ${size}`;
  if (verb === 'attached') return `attached ${disk.name} to ${disk.machine ?? ''} as ${disk.role}: ${size}`;
  const place = disk.machine === null ? 'detached' : `attached to ${disk.machine} as ${disk.role}`;
  return `${verb} ${disk.name}: ${size}, ${place}`;
}

/** The moment that was found; nothing for a point. */
export function momentText(at: RestoredMoment | undefined, style: Style): string {
  if (at === undefined) return '';
  const { lsn, timeMs } = at;
  return ` at record ${lsn}, ${formatTime(timeMs, style)}`;
}

/** What was restored into the store. */
export function liveRestoreReport(result: LiveRestoreResult, style: Style): string {
  const from = `${bold(style, result.source)}${momentText(result.at, style)}`;
  switch (result.kind) {
    case 'disk':
      return `restored ${from}\n  ${diskSentence('created', result.disk)}`;
    case 'inPlace':
      return `restored ${from}\n  in place: ${result.disks.join(', ')} of ${result.machine}, by record ${result.lsn}`;
    case 'machine':
      return `restored ${from}\n  ${machineSentence('created', result.machine)}`;
  }
}
