/** `completion`, and the hidden `__complete` that its scripts call for names out of the store. */

import { Argument, type Command } from 'commander';
import { call } from '../../control/call.js';
import { completes } from '../completion/kinds.js';
import type { ShellName } from '../completion/script.js';
import type { Invoke } from '../invocation.js';
import type { NameKind } from '../../control/commands/complete.js';

const shells: readonly ShellName[] = ['bash', 'zsh', 'fish'];

/** How long a word may take to complete; a server that does not answer must not hold up a prompt. */
const patienceMs = 5000;

const installHelp = `
  bash  stillpoint completion bash > ~/.local/share/bash-completion/completions/stillpoint
  zsh   stillpoint completion zsh > "\${fpath[1]}/_stillpoint"
  fish  stillpoint completion fish > ~/.config/fish/completions/stillpoint.fish`;

/** Adds `completion` and `__complete`. */
export function completionCommands(program: Command, invoke: Invoke): void {
  program
    .command('completion')
    .description('Print the completion script of a shell.')
    .addArgument(completes(new Argument('<shell>', 'the shell').choices(shells), 'shell'))
    .addHelpText('after', installHelp)
    .action((shell: ShellName, _options: object, command: Command) =>
      invoke(command, {
        run: async () => {
          const { completionScript } = await import('../completion/script.js');
          return { shell, script: completionScript(shell, program) };
        },
        render: (result) => result.script.trimEnd(),
      }),
    );

  program
    .command('__complete', { hidden: true })
    .addArgument(new Argument('<kind>').choices(['machine', 'point', 'machine-or-point', 'role', 'disk']))
    .argument('[words...]')
    .action((kind: NameKind, words: string[], _options: object, command: Command) =>
      invoke(command, {
        run: async (context) => {
          const { storeAmong } = await import('../completion/typed-words.js');
          const storePath = storeAmong(words, invoke.workingDirectory) ?? context.storePath;
          // Whatever goes wrong, a half typed line is no place for a message.
          const signal = AbortSignal.any([context.signal, AbortSignal.timeout(patienceMs)]);
          const quiet = { ...context, storePath, signal, onFindings: () => undefined };
          return call(quiet, 'complete', { kind, words }).catch(() => ({ value: [] }));
        },
        render: (result) => result.value.join('\n'),
      }),
    );
}
