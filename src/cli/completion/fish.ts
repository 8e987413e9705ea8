/** The completion script for fish. */

import type { CommandShape, OptionShape, WordShape } from './shape.js';

function quoted(text: string): string {
  return `'${text.replace(/[\\']/gu, (sign) => `\\${sign}`)}'`;
}

/** The words that say what is offered: a list, names out of the store, or files. */
function offerOf({ kind, choices }: WordShape): string {
  if (choices.length > 0) return `-x -a ${quoted(choices.join(' '))}`;
  if (kind === 'file' || kind === 'role-and-file') return '-r -F';
  if (kind === 'directory') return `-x -a '(__fish_complete_directories)'`;
  return kind === 'none' || kind === 'shell' ? '-x' : `-x -a '(__stillpoint_names ${kind})'`;
}

function optionLine(condition: string, option: OptionShape): string {
  const flags = option.flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const offer = option.value === null ? '' : ` ${offerOf(option.value)}`;
  return `complete -c stillpoint -n ${condition} ${flags.join(' ')} -d ${quoted(option.description)}${offer}`;
}

function commandLines(shape: CommandShape): string[] {
  const path = shape.path.join(' ');
  const at = (position: string): string => quoted(`__stillpoint_at "${path}"${position}`);
  const lines = shape.options.map((option) => optionLine(at(''), option));
  for (const { name, description } of shape.subcommands) {
    lines.push(`complete -c stillpoint -n ${at(' 0')} -a ${name} -d ${quoted(description)}`);
  }
  shape.words.forEach((word, index) => {
    const isRepeated = shape.variadic && index === shape.words.length - 1;
    const offer = offerOf(word).replace(/^-x /u, '');
    if (offer === '-x') return;
    lines.push(`complete -c stillpoint -n ${at(isRepeated ? '' : ` ${index}`)} ${offer}`);
  });
  return lines;
}

/** The script for fish 3 or newer. */
export function fishScript(shapes: readonly CommandShape[]): string {
  const paths = shapes.filter((shape) => shape.path.length > 0).map((shape) => quoted(shape.path.join(' ')));
  const valued = new Set(
    shapes.flatMap(({ options }) => options.filter(({ value }) => value !== null).flatMap(({ flags }) => flags)),
  );
  return `# fish completion for stillpoint
# stillpoint completion fish > ~/.config/fish/completions/stillpoint.fish

# Names out of the store.
function __stillpoint_names
    stillpoint __complete $argv[1] -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null
end

# Whether the word being typed belongs to the command PATH, and is its word number POSITION if one is given.
function __stillpoint_at
    set -l path
    set -l position 0
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip -eq 1
            set skip 0
            continue
        end
        if contains -- $word ${[...valued].join(' ')}
            set skip 1
            continue
        end
        string match -q -- '-*' $word; and continue
        if contains -- (string join ' ' -- $path $word) ${paths.join(' ')}
            set -a path $word
            set position 0
        else
            set position (math $position + 1)
        end
    end
    test "$path" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; or test $position -eq $argv[2]
end

complete -c stillpoint -f
${shapes.flatMap(commandLines).join('\n')}
`;
}
