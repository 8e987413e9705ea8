/** Reads the words of a command line that is still being typed, as the shell has them: with quotes and `~`. */

import { homedir } from 'node:os';
import { resolve } from 'node:path';

/** A word without its quotes and with its home directory. */
function unquoted(word: string): string {
  const text = word.replace(/\\(.)|["']/gu, '$1');
  return text === '~' || text.startsWith('~/') ? homedir() + text.slice(1) : text;
}

/** The store that `--store` names among the words, absolute; null when none does. Bash has `=` as a word of its own. */
export function storeAmong(words: readonly string[], workingDirectory: string): string | null {
  for (const [index, word] of words.entries()) {
    if (word.startsWith('--store=')) return resolve(workingDirectory, unquoted(word.slice('--store='.length)));
    if (word !== '--store') continue;
    const next = words[index + 1] === '=' ? words[index + 2] : words[index + 1];
    if (next !== undefined && next !== '') return resolve(workingDirectory, unquoted(next));
  }
  return null;
}
