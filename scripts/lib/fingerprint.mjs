/** A hash over files, to tell whether something has to be built again. */

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

import { inRoot, root } from './root.mjs';

/** Folders that hold what was built, not what is built from. */
const skipped = new Set(['node_modules', 'target', 'dist', '.git', '.cache', '.stillpoint']);

/** The files at and below the given paths of the checkout, sorted; what does not exist is left out. */
export function filesBelow(paths) {
  const files = [];
  const visit = (file) => {
    if (skipped.has(path.basename(file))) return;
    if (!statSync(file).isDirectory()) {
      files.push(file);
      return;
    }
    for (const name of readdirSync(file)) visit(path.join(file, name));
  };
  for (const each of paths) {
    const file = inRoot(each);
    if (existsSync(file)) visit(file);
  }
  return files.map((file) => path.relative(root, file)).sort();
}

/** SHA-256 over the names and contents of files, and over further texts. */
export function fingerprintOf(paths, ...texts) {
  const hash = createHash('sha256');
  for (const file of filesBelow(paths)) {
    const bytes = readFileSync(inRoot(file));
    hash.update(`${file}\0${bytes.length}\0`).update(bytes);
  }
  for (const text of texts) hash.update(`\0${text}`);
  return hash.digest('hex');
}
