/** The completion script for bash. */

import type { CommandShape, WordShape } from './shape.js';

/** What a word stands for, as the script's `__stillpoint_word` takes it. */
function wordOf({ kind, choices }: WordShape): string {
  return choices.length > 0 ? `choices ${choices.join(' ')}` : kind;
}

function keyOf(shape: CommandShape): string {
  return shape.path.join(' ');
}

/** `'vm create --config') expects='file' ;;` for every option that takes a value. */
function valueCases(shapes: readonly CommandShape[]): string[] {
  return shapes.flatMap((shape) =>
    shape.options
      .filter((option) => option.value !== null)
      .map(({ flags, value, variadic }) => {
        const patterns = flags.map((flag) => `'${keyOf(shape)} ${flag}'`).join(' | ');
        const word = value === null ? 'none' : wordOf(value);
        return `      ${patterns}) expects='${word}' many=${variadic ? 1 : 0} ;;`;
      }),
  );
}

function commandCases(shapes: readonly CommandShape[]): string[] {
  return shapes
    .filter((shape) => shape.path.length > 0)
    .map((shape) => {
      const parent = shape.path.slice(0, -1).join(' ');
      return `      '${parent}/${shape.path.at(-1) ?? ''}') path='${keyOf(shape)}' position=0 ;;`;
    });
}

/** What is offered for a word that begins with `-`, and for one that does not, by its position. */
function offerCases(shapes: readonly CommandShape[]): string[] {
  return shapes.flatMap((shape) => {
    const key = keyOf(shape);
    const flags = shape.options.flatMap((option) => option.flags.filter((flag) => flag.startsWith('--'))).join(' ');
    const lines = [`    '${key} -') expects='choices ${flags}' ;;`];
    if (shape.subcommands.length > 0) {
      lines.push(`    '${key} 0') expects='choices ${shape.subcommands.map(({ name }) => name).join(' ')}' ;;`);
    }
    shape.words.forEach((word, index) => {
      const isLast = index === shape.words.length - 1;
      const position = shape.variadic && isLast ? '*' : String(index);
      lines.push(`    '${key} '${position}) expects='${wordOf(word)}' ;;`);
    });
    return lines;
  });
}

/** The script for bash 4.1 or newer; it does not need the bash-completion package. */
export function bashScript(shapes: readonly CommandShape[]): string {
  return `# bash completion for stillpoint
# stillpoint completion bash > ~/.local/share/bash-completion/completions/stillpoint

# Offers words of one kind for the word that is being typed.
__stillpoint_word() {
  local program=$1 current=$2 kind=$3
  shift 3
  case $kind in
    choices) mapfile -t COMPREPLY < <(compgen -W "$*" -- "$current") ;;
    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    role-and-file)
      # Bash has taken ROLE=PATH apart at the equals sign.
      if [[ \${COMP_WORDS[COMP_CWORD]} == = || \${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
      else
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -S = -W "$("$program" __complete role -- "\${COMP_WORDS[@]:1}" 2>/dev/null)" -- "$current")
      fi
      ;;
    machine | point | machine-or-point | role | disk)
      mapfile -t COMPREPLY < <(compgen -W "$("$program" __complete "$kind" -- "\${COMP_WORDS[@]:1}" 2>/dev/null)" -- "$current")
      ;;
  esac
}

_stillpoint() {
  local program=$1 current=\${COMP_WORDS[COMP_CWORD]}
  local path='' position=0 expects='' many=0 index word
  COMPREPLY=()

  # Walks the words before the one being typed: which command it is, how many of its words there are, and whether an
  # option still expects its value.
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ $word == = ]]; then
      # --option=VALUE still expects its value; in ROLE=PATH the path belongs to the value.
      if [[ -z $expects ]] && ((index + 1 < COMP_CWORD)); then ((index++)); fi
      continue
    fi
    if [[ -n $expects && $word != -* ]]; then
      ((many)) || [[ $expects == role-and-file && \${COMP_WORDS[index + 1]} == = && index+2 -ge COMP_CWORD ]] || expects=''
      continue
    fi
    expects='' many=0
    if [[ $word == -* ]]; then
      case "$path $word" in
${valueCases(shapes).join('\n')}
      esac
      continue
    fi
    case "$path/$word" in
${commandCases(shapes).join('\n')}
      *) ((position++)) ;;
    esac
  done

  if [[ -n $expects && $current != -* ]]; then
    # shellcheck disable=SC2086
    __stillpoint_word "$program" "\${current#=}" $expects
    return
  fi
  expects=''
  [[ $current == -* ]] && position=-
  case "$path $position" in
${offerCases(shapes).join('\n')}
  esac
  # shellcheck disable=SC2086
  [[ -n $expects ]] && __stillpoint_word "$program" "$current" $expects
}

complete -F _stillpoint stillpoint
`;
}
