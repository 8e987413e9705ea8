/** The whole command line as a commander program: what can be typed, and which task it becomes. */

import { Command, Option, type CommanderError } from 'commander';
import { parseWhole } from './arguments.js';
import { benchCommand } from './commands/bench.js';
import { completionCommands } from './commands/completion.js';
import { machineCommands } from './commands/machines.js';
import { diskCommands } from './commands/disks.js';
import { pointCommands } from './commands/points.js';
import { restoreCommands } from './commands/restore.js';
import { statsCommand } from './commands/stats.js';
import { serveCommand } from './commands/serve.js';
import { storeCommands } from './commands/store.js';
import { completes } from './completion/kinds.js';
import { UsageError } from './errors.js';
import type { Invoke } from './invocation.js';
import { packageVersion } from './version.js';

/** Where commander writes help, and how. */
export interface HelpOutput {
  readonly writeOut: (text: string) => void;
  readonly writeErr: (text: string) => void;
  readonly outColumns: number;
  readonly outColour: boolean;
}

/** `stillpoint vm create`. */
function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

/** `error: unknown option '--x'\n(Did you mean --y?)` without the prefix, on one line. */
function usageMessage(text: string): string {
  return text
    .replace(/^error: /u, '')
    .replace(/\s*\n\s*/gu, ' ')
    .trim();
}

/** Makes a command and those below it throw `UsageError` instead of ending the process. */
function throwUsageErrors(command: Command): void {
  command.exitOverride((error: CommanderError) => {
    if (error.exitCode === 0) throw error;
    const isHelp = error.code === 'commander.help';
    throw new UsageError(isHelp ? 'no command was given' : usageMessage(error.message), pathOf(command));
  });
  command.commands.forEach(throwUsageErrors);
}

const storeHelp = `
The store is the directory named by --store, or by STILLPOINT_STORE, or ./.stillpoint.
Exit codes: 0 done, 1 failed, 2 wrong command line, 130 ended by Ctrl-C.`;

/** Builds the program; its actions hand their tasks to `invoke`. */
export function createProgram(invoke: Invoke, help: HelpOutput): Command {
  const program = new Command('stillpoint');
  program
    .description('Restore points of virtual machine disks: capture, compare, restore.')
    .configureHelp({
      showGlobalOptions: true,
      styleTitle: (text) => `\u001b[1m${text}\u001b[22m`,
      subcommandTerm: (command) => `${command.name()} ${command.usage().replace(/^\[options\] ?/u, '')}`.trim(),
    })
    .configureOutput({
      writeOut: help.writeOut,
      writeErr: help.writeErr,
      // What is wrong is thrown and reported in one place.
      outputError: () => undefined,
      getOutHelpWidth: () => help.outColumns,
      getErrHelpWidth: () => help.outColumns,
      getOutHasColors: () => help.outColour,
      getErrHasColors: () => help.outColour,
    })
    .version(packageVersion(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .addOption(completes(new Option('--store <dir>', 'directory of the store'), 'directory'))
    .option('--json', 'print one JSON object')
    .option('-q, --quiet', 'no progress and no notes')
    .option('--read-only', "open the store without its lock, for commands that don't change it")
    .addOption(new Option('--threads <n>', 'threads to work with (default: one a core)').argParser(parseWhole(1, 256)))
    .addHelpText('after', storeHelp);

  program.commandsGroup('Stores:');
  storeCommands(program, invoke);
  statsCommand(program, invoke);
  program.commandsGroup('Virtual machines:');
  machineCommands(program, invoke);
  diskCommands(program, invoke);
  program.commandsGroup('Restore points:');
  pointCommands(program, invoke);
  restoreCommands(program, invoke);
  program.commandsGroup('Other:').helpCommand('help [command]', 'Print the help of a command.');
  serveCommand(program, invoke);
  benchCommand(program, invoke);
  completionCommands(program, invoke);

  throwUsageErrors(program);
  return program;
}
