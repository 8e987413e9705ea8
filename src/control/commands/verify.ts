/** Checks that every restore point can be read. */

import type { Finding, VerifyReport } from '../../index.js';
import { progressOf, type CommandContext } from '../context.js';
import { withStore } from '../opening.js';

/** What opening reports although nothing is damaged: it finished what a process that stopped had begun. */
const settled: ReadonlySet<string> = new Set(['WORK_INTERRUPTED', 'RESTORE_POINT_RETURNED']);

/**
 * Checks manifests, maps and, with `readData`, every chunk. Damage is in the report, not thrown.
 *
 * The command opens the store itself, and opening puts right what it can (the catalog above all), so that verification
 * finds it sound. What opening found is damage all the same, and the report has it; where the store stays open, the
 * first report since it was opened.
 */
export async function verify(context: CommandContext, request: { readonly readData: boolean }): Promise<VerifyReport> {
  return withStore(context, async (store) => {
    const report = await store.verify({
      readData: request.readData,
      signal: context.signal,
      onProgress: progressOf(context, 'verify'),
    });
    const { held } = context;
    const found = foundByOpening(held?.unreported ?? store.findings, report.findings);
    if (held !== null) held.unreported = [];
    return { ...report, findings: [...found, ...report.findings] };
  });
}

function foundByOpening(opening: readonly Finding[], reported: readonly Finding[]): Finding[] {
  const files = new Set(reported.map(({ file }) => file));
  return opening.filter(({ code, file }) => !settled.has(code) && !files.has(file));
}
