/** `stats`. */

import { Argument, type Command } from 'commander';
import { call } from '../../control/call.js';
import { completes } from '../completion/kinds.js';
import type { Invoke } from '../invocation.js';

/** Adds the command that counts. */
export function statsCommand(program: Command, invoke: Invoke): void {
  program
    .command('stats')
    .description('Show what machines and restore points take, and what deleting them would free.')
    .addArgument(completes(new Argument('[vm]', 'name of the machine; all if left out'), 'machine'))
    .action((machine: string | undefined, _options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'stats', { machine: machine ?? null }),
        render: async (result, style) => (await import('../render/statistics.js')).statisticsReport(result, style),
      }),
    );
}
