/** Loop devices: block devices out of files. Only root may make them. */

import { execFileSync } from 'node:child_process';
import process from 'node:process';

import { noteSkipped, requireTool, type Tool } from '../house/tools.js';

const losetup: Tool = requireTool('losetup');

/** Why there can be no loop devices here; null when there can. */
function reasonAgainst(): string | null {
  if (losetup.isMissing) return 'need losetup';
  if (process.getuid?.() !== 0) return 'need loop devices, which only root can make';
  try {
    execFileSync(losetup.path, ['--find'], { stdio: 'pipe' });
    return null;
  } catch {
    return 'need loop devices, which this kernel or container does not give';
  }
}

/** Whether tests that need loop devices have to be skipped; said once at the end of the run. */
export function loopIsMissing(): boolean {
  const reason = reasonAgainst();
  if (reason !== null && !losetup.isMissing) noteSkipped(`tests that ${reason}`);
  return reason !== null;
}

/** Makes a block device out of a file. */
export function attachLoop(file: string): string {
  return execFileSync(losetup.path, ['--find', '--show', file], { encoding: 'utf8' }).trim();
}

/** Takes the device away. */
export function detachLoop(device: string): void {
  execFileSync(losetup.path, ['--detach', device], { stdio: 'pipe' });
}
