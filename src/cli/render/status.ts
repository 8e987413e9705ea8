/** The state of a store as people read it. */

import type { StatusResult } from '../../control/commands/status.js';
import { fields, table } from './layout.js';
import { compressionText, failedLogLines, findingLines } from './reports.js';
import { bold, yellow, type Style } from './style.js';
import { formatBytes, formatChosenBytes, formatCount, formatTime } from './units.js';

function accessText(status: StatusResult, style: Style): string {
  if (status.lockedByOther) return yellow(style, 'read-only: another process has the store open for writing');
  if (status.server !== null) return `read and write, served by process ${status.server.pid}`;
  return status.readOnly ? 'read-only' : 'read and write';
}

function logsText({ live }: StatusResult): string {
  return `${formatBytes(live.logBytes)}, ${formatBytes(live.debtBytes)} to be copied, ${formatBytes(live.availableBytes)} for writes`;
}

/** The store's parameters, sizes, contents and running work. */
export async function statusReport(status: StatusResult, style: Style): Promise<string> {
  const { info } = status;
  const stored = status.packBytes + status.indexBytes + status.manifestBytes;
  const parts = [
    `packs ${formatBytes(status.packBytes)}`,
    `index ${formatBytes(status.indexBytes)}`,
    `manifests ${formatBytes(status.manifestBytes)}`,
  ];
  const lines = [
    bold(style, status.path),
    fields(style, [
      ['store id', info.storeId],
      ['created', formatTime(info.createdMs, style)],
      ['access', accessText(status, style)],
      ['chunk size', formatChosenBytes(info.chunkBytes)],
      ['compression', compressionText(info)],
      ['machines', formatCount(status.machines)],
      ['points', formatCount(status.points)],
      ['managed disks', status.disks === 0 ? null : formatCount(status.disks)],
      ['write logs', status.disks === 0 ? null : logsText(status)],
      ['chunks', `${formatCount(status.chunkCount)} in ${formatCount(status.packCount)} packs`],
      ['stored', `${formatBytes(stored)} (${parts.join(', ')})`],
      ['available', formatBytes(status.availableBytes)],
    ]),
  ];
  if (status.work.length > 0) {
    const rows = status.work.map(({ machine, point, state, completionPercent }) => [
      machine,
      point,
      completionPercent === undefined ? state : `copy, ${completionPercent}%`,
    ]);
    lines.push('', await table(style, [{ title: 'MACHINE' }, { title: 'POINT' }, { title: 'WORK' }], rows, '  '));
  }
  if (status.failedLogs.length > 0) {
    lines.push('', '  write logs that failed (see reopen):', ...failedLogLines(status.failedLogs, style));
  }
  if (status.findings.length > 0) {
    lines.push('', '  found on opening:', ...status.findings.flatMap((finding) => findingLines(finding, style)));
  }
  return lines.join('\n');
}
