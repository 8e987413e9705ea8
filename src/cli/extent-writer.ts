/** Writes the extents of a diff as they are found; never more of them is held than one write. */

import type { DiffStream, DiffSummary } from '../control/commands/diff.js';
import type { Terminal } from './invocation.js';
import { BatchedOutput } from './output.js';
import { diffReport, extentLine, extentTitle } from './render/reports.js';

/** Writes the extents: lines for people, or the one JSON object, which is whole when the extents have ended. */
export async function writeExtents(stream: DiffStream, terminal: Terminal): Promise<void> {
  const output = new BatchedOutput(terminal.stdout);
  const { sizeBefore, sizeAfter, granularity } = stream;
  terminal.endProgress();
  let count = 0;
  if (terminal.json) {
    const header = JSON.stringify({ sizeBefore, sizeAfter, granularity }).slice(0, -1);
    await output.write(`${header},"extents":[`);
  }
  for await (const { offset, length, kind } of stream.extents) {
    if (terminal.json) {
      await output.write(`${count === 0 ? '' : ','}${JSON.stringify({ offset, length, kind })}`);
    } else {
      if (count === 0) await output.write(`${extentTitle(terminal.style)}\n`);
      await output.write(`${extentLine({ offset, length, kind })}\n`);
    }
    count += 1;
  }
  if (terminal.json) await output.write(']}\n');
  await output.flush();
}

/** Writes the sums below the lines for people; the JSON object has no place for them. */
export async function writeSummary(summary: DiffSummary, terminal: Terminal): Promise<void> {
  if (terminal.json) return;
  const blank = summary.extentCount === 0 ? '' : '\n';
  await terminal.stdout.write(`${blank}${diffReport(summary)}\n`);
}
