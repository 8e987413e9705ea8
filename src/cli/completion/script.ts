/** The completion script of a shell, generated from the program. */

import type { Command } from 'commander';
import { bashScript } from './bash.js';
import { fishScript } from './fish.js';
import { shapesOf, type CommandShape } from './shape.js';
import { zshScript } from './zsh.js';

/** The shells that have a completion script. */
export type ShellName = 'bash' | 'zsh' | 'fish';

const writers: Readonly<Record<ShellName, (shapes: readonly CommandShape[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** Commands and options are written into the script; names out of the store come from `stillpoint __complete`. */
export function completionScript(shell: ShellName, program: Command): string {
  return writers[shell](shapesOf(program));
}
