/** Answers of init, restore, verify, gc and delete as people read them. */

import type { DiffSummary } from '../../control/commands/diff.js';
import type { InitResult } from '../../control/commands/init.js';
import type { ReopenResult } from '../../control/commands/reopen.js';
import type { RestoreResult } from '../../control/commands/restore.js';
import type { CollectReport, Extent, FailedLog, Finding, StoreInfo, VerifyReport } from '../../index.js';
import { momentText } from './disks.js';
import { fields, table } from './layout.js';
import { bold, green, red, type Style } from './style.js';
import {
  formatBytes,
  formatChosenBytes,
  formatCount,
  formatCountOf,
  formatDuration,
  formatRate,
  rateOf,
} from './units.js';

/** A store's compression in words. */
export function compressionText(info: StoreInfo): string {
  return info.compression === 'zstd' ? `zstd, level ${info.compressionLevel}` : info.compression;
}

/** A new store. */
export function initReport({ path, info }: InitResult, style: Style): string {
  return [
    `made a store in ${bold(style, path)}`,
    fields(style, [
      ['store id', info.storeId],
      ['chunk size', formatChosenBytes(info.chunkBytes)],
      ['compression', compressionText(info)],
    ]),
  ].join('\n');
}

/** Restored disks, with the time for all of them. */
export async function restoreReport(result: RestoreResult, style: Style): Promise<string> {
  const columns = [
    { title: 'DISK' },
    { title: 'SIZE', align: 'right' },
    { title: 'WRITTEN', align: 'right' },
    { title: 'TO' },
  ] as const;
  const rows = result.disks.map((disk) => [
    disk.disk,
    formatBytes(disk.sizeBytes),
    formatBytes(disk.bytesWritten),
    disk.to,
  ]);
  const written = result.disks.reduce((sum, disk) => sum + disk.bytesWritten, 0);
  const rate = formatRate(rateOf(written, result.durationMs));
  const title = `restored ${bold(style, result.point)}${momentText(result.at, style)} in ${formatDuration(result.durationMs)} (${rate})`;
  return `${title}\n${await table(style, columns, rows, '  ')}`;
}

function hitLines(finding: Finding): string[] {
  return finding.hits.map(({ point, disk, ranges }) => {
    const first = ranges[0];
    const bytes = ranges.reduce((sum, range) => sum + range.length, 0);
    const place = first === undefined ? '' : `, from offset ${formatCount(first.offset)}`;
    return `    hits ${point}, disk ${disk}: ${formatBytes(bytes)} in ${formatCountOf(ranges.length, 'range', 'ranges')}${place}`;
  });
}

/** One finding: where, what, and which points it hits. */
export function findingLines(finding: Finding, style: Style): string[] {
  const place = finding.offset === null ? finding.file : `${finding.file} at ${formatCount(finding.offset)}`;
  return [`  ${red(style, finding.code)} ${place}: ${finding.message}`, ...hitLines(finding)];
}

/** What verification found. */
export function verifyReport(result: VerifyReport, style: Style): string {
  const looked = [
    formatCountOf(result.pointsChecked, 'point', 'points'),
    formatCountOf(result.chunksChecked, 'chunk', 'chunks'),
    `${formatBytes(result.bytesRead)} read`,
  ].join(', ');
  if (result.findings.length === 0) return `${green(style, 'sound')}: ${looked}`;
  return [
    `${red(style, 'damaged')}: ${formatCountOf(result.findings.length, 'finding', 'findings')} (${looked})`,
    ...result.findings.flatMap((finding) => findingLines(finding, style)),
  ].join('\n');
}

/** What a collection gave back, or would. */
export function collectReport(result: CollectReport, style: Style): string {
  const freed = bold(style, formatBytes(result.bytesFreed));
  return [
    result.dryRun ? `would free ${freed}` : `freed ${freed}`,
    fields(style, [
      ['chunks removed', formatCount(result.chunksRemoved)],
      ['packs removed', formatCount(result.packsRemoved)],
      ['packs rewritten', `${formatCount(result.packsRewritten)} (${formatBytes(result.bytesRewritten)})`],
    ]),
  ].join('\n');
}

/** Write logs that failed, a line for each. */
export function failedLogLines(logs: readonly FailedLog[], style: Style): string[] {
  return logs.map(({ logId, machine, disk, code, message }) => {
    return `  ${red(style, code)} ${machine ?? disk ?? `live/${logId}`}: ${message}`;
  });
}

/** What opening write logs came to. */
export function reopenReport({ findings, failedLogs }: ReopenResult, style: Style): string {
  const said =
    failedLogs.length === 0
      ? `${green(style, 'open')}: all write logs take writes`
      : `${red(style, 'failed')}: ${formatCountOf(failedLogs.length, 'write log', 'write logs')}`;
  const found = findings.flatMap((finding) => findingLines(finding, style));
  return [said, ...failedLogLines(failedLogs, style), ...(found.length > 0 ? ['  found:', ...found] : [])].join('\n');
}

/** What was deleted, a line for each. */
export function deletedReport(names: readonly string[]): string {
  return names.map((name) => `deleted ${name}`).join('\n');
}

/** Title of the extents' columns, which `extentLine` keeps to. */
export function extentTitle(style: Style): string {
  return bold(style, `${'OFFSET'.padStart(16)}  ${'LENGTH'.padStart(14)}  KIND`);
}

/** One extent; the columns have a fixed width because the lines are printed as they come. */
export function extentLine(extent: Extent): string {
  return `${String(extent.offset).padStart(16)}  ${String(extent.length).padStart(14)}  ${extent.kind}`;
}

/** The sums of a diff. */
export function diffReport(summary: DiffSummary): string {
  const { sizeBefore, sizeAfter, dataBytes, zeroBytes } = summary;
  const size =
    sizeBefore === sizeAfter ? formatBytes(sizeAfter) : `${formatBytes(sizeBefore)} -> ${formatBytes(sizeAfter)}`;
  const changed = formatBytes(dataBytes + zeroBytes);
  const extents = formatCountOf(summary.extentCount, 'extent', 'extents');
  const kinds = `${formatBytes(dataBytes)} data, ${formatBytes(zeroBytes)} zero`;
  return `${extents}, ${changed} of ${size} (${kinds}), granularity ${formatChosenBytes(summary.granularity)}`;
}
