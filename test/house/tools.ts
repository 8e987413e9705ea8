/**
 * Programs that interop tests need besides Node.js and Rust.
 *
 *     const qemu = requireTool('qemu-img');
 *     it.skipIf(qemu.isMissing)('qemu-img reads what restore wrote', () => { ... qemu.path ... });
 *
 * A missing program skips the test and says so once at the end of the run; with CI=true it is an error, so that a check
 * that was meant to run cannot go missing.
 */

import { accessSync, appendFileSync, constants, readFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';

export interface Tool {
  readonly name: string;
  /** Where the program is; just its name when it is missing. */
  readonly path: string;
  readonly isMissing: boolean;
}

/** Folders for administrators come last: Debian leaves them out of a user's PATH, and mke2fs is there. */
function folders(): string[] {
  const own = (process.env['PATH'] ?? '').split(path.delimiter);
  return [...own, '/usr/local/sbin', '/usr/sbin', '/sbin'].filter((folder) => folder !== '');
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The Debian package that brings a program, from the one list of them. */
export function packageOf(name: string): string | null {
  const list = readFileSync(new URL('../../scripts/ci-packages.txt', import.meta.url), 'utf8');
  for (const line of list.split('\n')) {
    const [debian, ...programs] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (debian !== undefined && programs.includes(name)) return debian;
  }
  return null;
}

/** Has the end of the run say once what was skipped. */
export function noteSkipped(what: string): void {
  const notices = process.env['STILLPOINT_TEST_NOTICES'];
  if (notices !== undefined) appendFileSync(notices, `skipped: ${what}\n`);
}

/** Looks for a program; a name that scripts/ci-packages.txt does not have is a mistake in the test. */
export function requireTool(name: string, isCi: boolean = process.env['CI'] === 'true'): Tool {
  const debian = packageOf(name);
  if (debian === null) throw new Error(`${name} is not in scripts/ci-packages.txt: add it with its package`);
  const found = folders()
    .map((folder) => path.join(folder, name))
    .find(isProgram);
  if (found !== undefined) return { name, path: found, isMissing: false };
  if (isCi) throw new Error(`${name} is missing, and CI=true skips nothing: install ${debian}`);
  noteSkipped(`tests that need ${name} (Debian package ${debian})`);
  return { name, path: name, isMissing: true };
}
