/** The command line as it is installed: `dist/cli/main.js` in a process of its own. */

import { spawn, type ChildProcess } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { ended, type Ended } from '../cli/compiled-cli.js';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** How a command is started. */
export interface CommandOptions {
  /** The user that the process belongs to. */
  readonly uid?: number;
  /** How long a file may become that it writes, in blocks of 512 bytes. */
  readonly fileBlocksMax?: number;
  /** Where it makes what is gone with it. */
  readonly temporaryFolder?: string;
}

/** Starts `stillpoint WORDS...`. */
export function startCommand(words: readonly string[], options: CommandOptions = {}): ChildProcess {
  const { uid, fileBlocksMax, temporaryFolder } = options;
  const limited = fileBlocksMax === undefined ? '' : `ulimit -f ${fileBlocksMax}; `;
  return spawn('/bin/sh', ['-c', `${limited}exec "$0" "$@"`, process.execPath, main, ...words], {
    env: { PATH: process.env['PATH'], ...(temporaryFolder === undefined ? {} : { TMPDIR: temporaryFolder }) },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
}

/** Runs it to its end. */
export async function runCommand(words: readonly string[], options: CommandOptions = {}): Promise<Ended> {
  return ended(startCommand(words, options));
}

/** The code of the error that a command with `--json` printed; null where it printed none. */
export function codeOf({ err }: Ended): string | null {
  const line = err.split('\n').find((each) => each.startsWith('{"error":'));
  if (line === undefined) return null;
  // A cast: the line is the documented form of an error.
  return (JSON.parse(line) as { readonly error: { readonly code: string } }).error.code;
}
