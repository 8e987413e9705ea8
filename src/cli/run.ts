/** Runs one command line from its words to its exit code. */

import { CommanderError, type Command } from 'commander';
import { errorJson, errorText, reportOf, UsageError } from './errors.js';
import { Invocation, type Invoke } from './invocation.js';
import { OutputClosed } from './output.js';
import { createProgram } from './program.js';
import type { Shell } from './shell.js';

/** Whether `--json` is among the words; looked at by itself because the line may not parse. */
function wantsJson(words: readonly string[]): boolean {
  const end = words.indexOf('--');
  return words.slice(0, end === -1 ? words.length : end).includes('--json');
}

/**
 * Runs `stillpoint WORDS...` and resolves to the exit code. Never rejects: what goes wrong is printed.
 *
 * All that it printed has left the process when it resolves.
 */
export async function run(words: readonly string[], shell: Shell): Promise<number> {
  const invocation = new Invocation(shell);
  const { stdout, stderr } = invocation;
  const json = wantsJson(words);
  const help = { text: '', toStderr: false };
  const invoke: Invoke = Object.assign(
    <Result>(command: Command, task: Parameters<typeof invocation.run<Result>>[1]) => invocation.run(command, task),
    { workingDirectory: shell.workingDirectory },
  );
  try {
    const program = createProgram(invoke, {
      writeOut: (text) => {
        help.text += text;
      },
      writeErr: (text) => {
        help.text += text;
        help.toStderr = true;
      },
      outColumns: stdout.columns,
      outColour: invocation.styleOf(stdout).colour,
    });
    await program.parseAsync([...words], { from: 'user' });
    return invocation.exitCode;
  } catch (error) {
    if (error instanceof OutputClosed) return 0;
    if (error instanceof CommanderError && error.exitCode === 0) {
      await stdout.writeIfOpen(help.text);
      return 0;
    }
    const report = reportOf(error, shell.signal);
    if (json) await stderr.writeIfOpen(errorJson(report));
    else if (error instanceof UsageError && help.toStderr) await stderr.writeIfOpen(help.text);
    else {
      const debug = (shell.environment['STILLPOINT_DEBUG'] ?? '') !== '';
      await stderr.writeIfOpen(errorText(report, invocation.styleOf(stderr), debug));
    }
    return report.exitCode;
  }
}
