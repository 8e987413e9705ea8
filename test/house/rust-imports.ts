/**
 * What Rust files name of their own crate (`crate::x`, `super::x`) and of the engine (`stillpoint_engine::x`).
 *
 * A reader of tokens, not a compiler: comments and strings are blanked, `use` trees are opened, and `super` is counted
 * from the file's place and the inline modules around it. Tests are left out: what they stand on is not what ships.
 */

export interface RustPath {
  /** First segment below the crate: a module, or an item of the crate's root. */
  readonly head: string;
  readonly line: number;
}

const blank = (text: string): string => text.replace(/[^\n]/g, ' ');

/** The source with comments, strings and characters blanked, so that positions stay. */
export function withoutText(source: string): string {
  const pattern =
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|\bb?r(#*)"[\s\S]*?"\1|b?"(?:\\[\s\S]|[^"\\])*"|b?'(?:\\(?:u\{[^}]*\}|x[0-9a-fA-F]{2}|.)|[^'\\\n])'/g;
  return source.replace(pattern, blank);
}

/** The position behind the brace that closes the one at `open`. */
function closing(source: string, open: number): number {
  let depth = 0;
  for (let at = open; at < source.length; at += 1) {
    if (source[at] === '{') depth += 1;
    if (source[at] === '}') depth -= 1;
    if (depth === 0) return at + 1;
  }
  return source.length;
}

interface InlineModule {
  readonly from: number;
  readonly to: number;
  readonly isTest: boolean;
}

function inlineModules(source: string): InlineModule[] {
  return [...source.matchAll(/(#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*)?\bmod\s+(\w+)\s*\{/g)].map((match) => {
    const from = match.index + match[0].length;
    return { from, to: closing(source, from - 1), isTest: match[1] !== undefined || match[2] === 'tests' };
  });
}

/** Parts of a `use` tree at its top level: `a::b, c::{d, e}` gives two. */
function branches(tree: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at < tree.length; at += 1) {
    if (tree[at] === '{') depth += 1;
    if (tree[at] === '}') depth -= 1;
    if (tree[at] === ',' && depth === 0) {
      parts.push(tree.slice(from, at));
      from = at + 1;
    }
  }
  parts.push(tree.slice(from));
  return parts.map((part) => part.trim()).filter((part) => part !== '');
}

/** Paths that begin at `root::`, each up to its first segment; a group gives one per branch. */
function heads(
  source: string,
  root: RegExp,
): { readonly head: string; readonly at: number; readonly supers: number }[] {
  return [...source.matchAll(root)].flatMap((match) => {
    const supers = [...match[0].matchAll(/super/g)].length;
    const end = match.index + match[0].length;
    const segment = /^\s*(r#)?(\w+|\*)(\s*!)?/.exec(source.slice(end));
    if (segment !== null) {
      // A macro of the crate stands at its root wherever it is written.
      if (segment[3] !== undefined) return [];
      return [{ head: segment[2] ?? '', at: match.index, supers }];
    }
    const open = source.indexOf('{', end);
    const tree = source.slice(open + 1, closing(source, open) - 1);
    return branches(tree).map((branch) => ({ head: /^\w+|^\*/.exec(branch)?.[0] ?? branch, at: match.index, supers }));
  });
}

function lineAt(source: string, at: number): number {
  return source.slice(0, at).split('\n').length;
}

/** Where a file stands: `io/memory.rs` is the module io::memory, `io/mod.rs` is io, `lib.rs` is the root. */
export function modulePath(file: string): string[] {
  const parts = file.replace(/\.rs$/, '').split('/');
  const last = parts.at(-1);
  return last === 'mod' || last === 'lib' ? parts.slice(0, -1) : parts;
}

/** The first segments below the crate's root that a file of the crate names, outside tests. */
export function cratePaths(file: string, text: string): RustPath[] {
  const source = withoutText(text);
  const modules = inlineModules(source);
  const depth = modulePath(file).length;
  const found = heads(source, /(?<!\$)\bcrate\s*::|(?<!::\s*)\bsuper\s*::(?:\s*super\s*::)*/g);
  return found.flatMap(({ head, at, supers }) => {
    const around = modules.filter((module) => module.from <= at && at < module.to);
    if (around.some((module) => module.isTest)) return [];
    // `super` that does not climb out to the root stays inside the file's own unit.
    if (supers > 0 && supers < depth + around.length) return [];
    return [{ head, line: lineAt(source, at) }];
  });
}

/** The first segments below `stillpoint_engine` that a file of the binding names. */
export function enginePaths(text: string): RustPath[] {
  const source = withoutText(text);
  return heads(source, /\bstillpoint_engine\s*::/g).map(({ head, at }) => ({ head, line: lineAt(source, at) }));
}

/** Whether a file holds tests only. */
export function isRustTest(file: string): boolean {
  return /(^|\/)tests(\.rs$|\/)|_tests?\.rs$/.test(file);
}
