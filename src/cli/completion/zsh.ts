/** The completion script for zsh. */

import type { CommandShape, OptionShape, WordShape } from './shape.js';

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Text within a spec of `_arguments`, where brackets and colons have a meaning. */
function inSpec(text: string): string {
  return text.replace(/[\\[\]:]/gu, (sign) => `\\${sign}`);
}

function functionOf(path: readonly string[]): string {
  return ['_stillpoint', ...path].join('_');
}

/** The action of a spec: what is offered for a word. */
function actionOf({ kind, choices }: WordShape): string {
  if (choices.length > 0) return `(${choices.join(' ')})`;
  if (kind === 'file') return '_files';
  if (kind === 'directory') return '_files -/';
  if (kind === 'role-and-file') return '_stillpoint_role_and_file';
  return kind === 'none' || kind === 'shell' ? '' : `_stillpoint_names ${kind}`;
}

function optionSpecs(option: OptionShape): string[] {
  const exclusive = option.repeatable ? '*' : `(${option.flags.join(' ')})`;
  const value = option.value === null ? '' : `:${option.variadic ? '*-*:' : ''}value:${actionOf(option.value)}`;
  return option.flags.map((flag) => quoted(`${exclusive}${flag}[${inSpec(option.description)}]${value}`));
}

function wordSpecs(shape: CommandShape): string[] {
  return shape.words.map((word, index) => {
    const isRepeated = shape.variadic && index === shape.words.length - 1;
    return quoted(`${isRepeated ? '*' : String(index + 1)}:word:${actionOf(word)}`);
  });
}

function describeFunction(shape: CommandShape): string {
  const entries = shape.subcommands.map(({ name, description }) => `    ${quoted(`${name}:${inSpec(description)}`)}`);
  return `${functionOf([...shape.path, 'commands'])}() {
  local -a commands
  commands=(
${entries.join('\n')}
  )
  _describe -t commands command commands
}
`;
}

function commandFunction(shape: CommandShape): string {
  const specs = shape.options.flatMap(optionSpecs);
  const lines = (all: readonly string[]): string => all.map((spec) => `    ${spec}`).join(' \\\n');
  if (shape.subcommands.length === 0) {
    return `${functionOf(shape.path)}() {
  _arguments -s \\
${lines([...specs, ...wordSpecs(shape)])}
}
`;
  }
  const commands = functionOf([...shape.path, 'commands']);
  const below = shape.subcommands.map(({ name }) => `    ${name}) ${functionOf([...shape.path, name])} ;;`);
  const remember = shape.path.length === 0 ? '  typeset -ga _stillpoint_typed=("${(@)words[2,-1]}")\n' : '';
  return `${describeFunction(shape)}
${functionOf(shape.path)}() {
  local curcontext=$curcontext state line
  typeset -A opt_args
${remember}  _arguments -C -s \\
${lines([...specs, quoted(`1:command:${commands}`), quoted('*::word:->below')])} && return
  [[ $state == below ]] || return
  case $words[1] in
${below.join('\n')}
  esac
}
`;
}

/** The script for zsh 5 or newer, to be put into a directory of `fpath` as `_stillpoint`. */
export function zshScript(shapes: readonly CommandShape[]): string {
  return `#compdef stillpoint
# zsh completion for stillpoint
# stillpoint completion zsh > "\${fpath[1]}/_stillpoint"

# Offers names out of the store; the last argument is their kind, those before it are for compadd.
_stillpoint_names() {
  local -a names
  names=(\${(f)"$(stillpoint __complete \${argv[-1]} -- "\${(@)_stillpoint_typed}" 2>/dev/null)"})
  compadd "\${(@)argv[1,-2]}" -a names
}

_stillpoint_role_and_file() {
  if compset -P '*='; then
    _files
  else
    _stillpoint_names "$@" -S '=' -q role
  fi
}

${shapes.map(commandFunction).join('\n')}
if [[ \${funcstack[1]} == _stillpoint ]]; then
  _stillpoint "$@"
else
  compdef _stillpoint stillpoint
fi
`;
}
