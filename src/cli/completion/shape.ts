/** The program as completion scripts need it: commands, options and what their values stand for, as plain data. */

import type { Argument, Command, Option } from 'commander';
import { gatherDisk, gatherNbdPlace, gatherWord } from '../arguments.js';
import { kindOf, type WordKind } from './kinds.js';

/** The value of an option, or a positional word. */
export interface WordShape {
  readonly kind: WordKind;
  /** Values to choose from; empty where they are not fixed. */
  readonly choices: readonly string[];
}

export interface OptionShape {
  /** `--json`, `-q`. */
  readonly flags: readonly string[];
  readonly description: string;
  /** Null for a switch. */
  readonly value: WordShape | null;
  /** Takes all words up to the next option. */
  readonly variadic: boolean;
  /** May be given more than once. */
  readonly repeatable: boolean;
}

export interface CommandShape {
  /** Words after the program's name: empty for the program itself, `['vm', 'create']`. */
  readonly path: readonly string[];
  readonly description: string;
  readonly subcommands: readonly { readonly name: string; readonly description: string }[];
  readonly words: readonly WordShape[];
  /** The last word may be repeated. */
  readonly variadic: boolean;
  /** Its own options and those of all commands. */
  readonly options: readonly OptionShape[];
}

function wordShape(part: Option | Argument): WordShape {
  return { kind: kindOf(part), choices: part.argChoices ?? [] };
}

function optionShape(option: Option): OptionShape {
  return {
    flags: [option.short, option.long].filter((flag) => flag !== undefined),
    description: option.description,
    value: option.required || option.optional ? wordShape(option) : null,
    variadic: option.variadic,
    repeatable: [gatherDisk, gatherWord, gatherNbdPlace].some((gather) => option.parseArg === gather),
  };
}

function visibleCommands(command: Command): Command[] {
  return command.createHelp().visibleCommands(command);
}

/** The program and every command below it, each before those below it. */
export function shapesOf(command: Command, path: readonly string[] = []): CommandShape[] {
  const help = command.createHelp();
  help.showGlobalOptions = true;
  const options = [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)];
  const subcommands = visibleCommands(command);
  const shape: CommandShape = {
    path,
    description: command.summary() || command.description(),
    subcommands: subcommands.map((each) => ({ name: each.name(), description: each.summary() || each.description() })),
    words: command.registeredArguments.map(wordShape),
    variadic: command.registeredArguments.at(-1)?.variadic ?? false,
    options: options.map(optionShape),
  };
  return [shape, ...subcommands.flatMap((each) => shapesOf(each, [...path, each.name()]))];
}
