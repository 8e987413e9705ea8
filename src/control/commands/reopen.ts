/** Opens write logs that could not be opened, or that take no more writes. */

import type { FailedLog, Finding } from '../../index.js';
import type { CommandContext } from '../context.js';
import { withStore } from '../opening.js';

export interface ReopenResult {
  /** What opening them found or put right. */
  readonly findings: readonly Finding[];
  /** The logs with which it failed. */
  readonly failedLogs: readonly FailedLog[];
}

/** Opens them in the open store: other machines notice nothing. */
export async function reopen(context: CommandContext): Promise<ReopenResult> {
  return withStore(context, async (store) => {
    const findings = await store.reopenLogs();
    const { failedLogs } = await store.status();
    const isFailed = new Set(['LOG_FENCED', 'LOG_UNAVAILABLE']); // said of the log itself, more shortly
    return { findings: findings.filter(({ code }) => !isFailed.has(code)), failedLogs };
  });
}
