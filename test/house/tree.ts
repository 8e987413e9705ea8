/** The files of the checkout as house tests see them: what is kept, without what is built or installed. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root: string = fileURLToPath(new URL('../..', import.meta.url));

const skipped = new Set([
  '.cache',
  '.git',
  '.stillpoint',
  'dist',
  'dist.new',
  'dist.old',
  'node_modules',
  'results',
  'target',
]);

/** Files at and below a folder of the checkout, as sorted paths from its root with `/`; none when it does not exist. */
export function filesIn(folder: string): string[] {
  if (!existsSync(path.join(root, folder))) return [];
  return readdirSync(path.join(root, folder), { withFileTypes: true })
    .filter((entry) => !skipped.has(entry.name))
    .flatMap((entry) => {
      const file = path.posix.join(folder, entry.name);
      return entry.isDirectory() ? filesIn(file) : [file];
    })
    .sort();
}

export function textOf(file: string): string {
  return readFileSync(path.join(root, file), 'utf8');
}

export function exists(file: string): boolean {
  return existsSync(path.join(root, file));
}
