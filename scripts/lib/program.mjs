/** Becoming a program of the checkout: installed, built, then run in this process. */

import { existsSync } from 'node:fs';
import path from 'node:path';

import { build } from './build.mjs';
import { ensureInstalled } from './install.mjs';
import { inRoot, root } from './root.mjs';
import { StepError } from './run.mjs';

/**
 * Runs a program of the checkout with the arguments of this process.
 *
 * It runs in this process, so that signals, exit code, terminal and working directory are its own.
 */
export async function becomeProgram(file) {
  await ensureInstalled();
  await build();
  const program = inRoot(file);
  if (!existsSync(program)) throw new StepError(`${file} is missing`);
  // npm runs scripts in the package's folder; relative paths are meant from where the user stands.
  const from = process.env['INIT_CWD'];
  const isNpmScript = process.env['npm_lifecycle_event'] === path.basename(process.argv[1], '.mjs');
  if (isNpmScript && from !== undefined && path.relative(root, process.cwd()) === '') process.chdir(from);
  process.argv[1] = program;
  await import(program);
}
