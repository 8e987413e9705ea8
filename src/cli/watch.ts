/** `status --watch`: shows one look after the other. */

import type { CommandContext } from '../control/context.js';
import type { StatusResult } from '../control/commands/status.js';
import { statuses } from '../control/watch.js';
import type { Terminal } from './invocation.js';
import { dim, type Style } from './render/style.js';
import { formatTime } from './render/units.js';

/** Home, without clearing first: what is written over does not flicker. */
const home = '\u001b[H';
const clearLine = '\u001b[K';
const clearBelow = '\u001b[J';

/** Text is cut at the edge, on a screen of its own, which leaves the other as it was. */
const begin = '\u001b[?1049h\u001b[?7l';
const end = '\u001b[?7h\u001b[?1049l';

async function reportOf(status: StatusResult, style: Style): Promise<string> {
  const { statusReport } = await import('./render/status.js');
  return statusReport(status, style);
}

/** What fits on the screen, drawn over what was there. */
function frame(report: string, title: string, rows: number): string {
  const lines = [title, '', ...report.split('\n')].slice(0, Math.max(1, rows - 1));
  return `${home}${lines.map((line) => `${line}${clearLine}\n`).join('')}${clearBelow}`;
}

/**
 * Shows the status until the signal aborts: on a terminal in one place, elsewhere one after the other, with `--json` an
 * object a line. The last one stays on the terminal.
 */
export async function watchStatus(context: CommandContext, terminal: Terminal, intervalMs: number): Promise<void> {
  const { stdout, style, json } = terminal;
  const redraws = stdout.isTerminal && !json;
  let report = '';
  if (redraws) await stdout.write(begin);
  try {
    for await (const status of statuses(context, intervalMs)) {
      if (json) await stdout.write(`${JSON.stringify(status)}\n`);
      else {
        const blank = report === '' ? '' : '\n';
        report = await reportOf(status, style);
        const title = dim(style, `every ${intervalMs / 1000} s, ${formatTime(context.clock.nowMs(), style)}`);
        await stdout.write(redraws ? frame(report, title, stdout.rows) : `${blank}${report}\n`);
      }
    }
  } catch (error) {
    // Ending it is how it ends: no failure to be told.
    if (!context.signal.aborted) throw error;
  } finally {
    if (redraws) await stdout.writeIfOpen(`${end}${report === '' ? '' : `${report}\n`}`);
  }
}
