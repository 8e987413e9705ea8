/** What this process may do: tests of permissions and of mounts need to know. */

import { appendFileSync, chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';

import { runCommand } from './command.js';

/** The user that permissions are tested with when the tests run as root, whom they do not stop. */
const nobody = 65534;

export const isRoot: boolean = process.getuid?.() === 0;

/** Says once at the end of the run that tests were left out, and gives true where they are. */
export function leftOut(isLeftOut: boolean, why: string): boolean {
  const notices = process.env['STILLPOINT_TEST_NOTICES'];
  if (isLeftOut && notices !== undefined) appendFileSync(notices, `skipped: ${why}\n`);
  return isLeftOut;
}

/**
 * A user whom permissions stop: undefined for this one, null where there is none.
 *
 * Root needs another one, who must be able to read the checkout.
 */
export async function plainUser(): Promise<number | undefined | null> {
  if (!isRoot) return undefined;
  const probe = mkdtempSync(path.join(tmpdir(), 'stillpoint-user-'));
  try {
    chmodSync(probe, 0o755);
    const { code } = await runCommand(['--version'], { uid: nobody });
    return code === 0 ? nobody : null;
  } catch {
    return null;
  } finally {
    rmSync(probe, { recursive: true, force: true });
  }
}
