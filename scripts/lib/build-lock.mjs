/** One build at a time in a checkout: a file with the builder's process id. */

import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

import { cache } from './root.mjs';
import { say } from './run.mjs';

const file = path.join(cache, 'build', 'lock');
const retryMs = 200;

function isTaken() {
  // Written elsewhere and linked here, so that the file never exists without its content.
  const own = `${file}.${process.pid}`;
  writeFileSync(own, String(process.pid));
  try {
    linkSync(own, file);
    return false;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    return true;
  } finally {
    rmSync(own, { force: true });
  }
}

/** Whether the process that made the file is still there. */
function holderLives() {
  try {
    process.kill(Number(readFileSync(file, 'utf8')), 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Runs `work` while no other build runs in this checkout. */
export async function whileAlone(work) {
  mkdirSync(path.dirname(file), { recursive: true });
  let waited = false;
  while (isTaken()) {
    if (!holderLives()) {
      rmSync(file, { force: true });
      continue;
    }
    if (!waited) say('waiting for another build in this checkout');
    waited = true;
    await wait(retryMs);
  }
  try {
    return await work();
  } finally {
    rmSync(file, { force: true });
  }
}
