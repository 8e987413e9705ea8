/**
 * Looks at the store again and again.
 *
 * A look never takes the store's lock, or it would be in the way of everybody else's commands: it asks the process that has the
 * store open, and where none answers it reads what is there. So it also goes on while a server is started again.
 */

import { isStillpointError } from '../store/errors.js';
import { wait } from '../store/wait.js';
import { call, callServer } from './call.js';
import type { StatusResult } from './commands/status.js';
import type { CommandContext } from './context.js';

async function look(context: CommandContext): Promise<StatusResult> {
  try {
    const answered = await callServer(context, 'status', {});
    if (answered !== null) return answered.result;
  } catch (error) {
    if (!isStillpointError(error, 'SERVER_LOST')) throw error;
  }
  return call({ ...context, readOnly: true, onFindings: () => undefined }, 'status', {});
}

/** The status now, and again after each interval, until the context's signal aborts. */
export async function* statuses(context: CommandContext, intervalMs: number): AsyncGenerator<StatusResult, void> {
  while (!context.signal.aborted) {
    yield await look(context);
    await wait(intervalMs, context.signal, true);
  }
}
