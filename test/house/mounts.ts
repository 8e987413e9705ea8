/** Taking mounted things away again, whoever still looks at them. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

import { requireTool } from './tools.js';

const execute = promisify(execFile);
const umount = requireTool('umount');

/** How long something may be busy after the last who used it in earnest has gone. */
const busyMsMax = 20_000;

/**
 * Unmounts what is mounted at `place`. False when nothing is.
 *
 * It waits for those who still have it open for a moment: a process that was killed, or a loop device, which the kernel keeps
 * after `losetup --detach` until the last program that looks at all block devices has closed it.
 */
export async function unmount(place: string, ...options: string[]): Promise<boolean> {
  for (let waitedMs = 0; isMountPoint(place); waitedMs += 20) {
    try {
      await execute(umount.path, [...options, place]);
      return true;
    } catch (error) {
      if (waitedMs > busyMsMax) throw error;
      await pause(20);
    }
  }
  return false;
}

function isMountPoint(place: string): boolean {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === place);
}
