/** What the words of a command line stand for, remembered beside commander's options and arguments. */

import type { Argument, Option } from 'commander';
import type { NameKind } from '../../control/commands/complete.js';

/** How a shell completes a word: names out of the store, paths, or nothing it could know. */
export type WordKind = NameKind | 'file' | 'directory' | 'role-and-file' | 'shell' | 'none';

const kinds = new WeakMap<Option | Argument, WordKind>();

/** Says what the value of an option or argument stands for. */
export function completes<Part extends Option | Argument>(part: Part, kind: WordKind): Part {
  kinds.set(part, kind);
  return part;
}

/** What the value of an option or argument stands for. */
export function kindOf(part: Option | Argument): WordKind {
  return kinds.get(part) ?? 'none';
}
