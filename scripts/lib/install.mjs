/**
 * Installed packages equal the lock file, or `npm ci` makes them so.
 *
 * Compared by content, not by time: a checkout or a copy changes times and nothing else. npm writes what it installed
 * into `node_modules/.package-lock.json` as its last act, so an interrupted installation counts as none.
 */

import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { inRoot } from './root.mjs';
import { mustRun, say, secondsSince } from './run.mjs';

function packagesIn(file) {
  return JSON.parse(readFileSync(inRoot(file), 'utf8')).packages;
}

function isInstalled() {
  const record = 'node_modules/.package-lock.json';
  if (!existsSync(inRoot(record))) return false;
  const installed = packagesIn(record);
  return Object.entries(packagesIn('package-lock.json')).every(([folder, { version, optional }]) => {
    if (folder === '') return true;
    const found = installed[folder];
    // Optional packages are those of one platform; the others are not installed.
    return found === undefined ? optional === true : found.version === version;
  });
}

/** Installs what the lock file names, unless it is there. */
export async function ensureInstalled() {
  if (isInstalled()) return;
  const startedMs = Date.now();
  say('installing npm packages');
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const npm = process.env['npm_execpath'];
  const [command, first] =
    npm !== undefined && path.basename(npm) === 'npm-cli.js' ? [process.execPath, [npm]] : ['npm', []];
  await mustRun(command, [...first, ...args], {
    output: 'stderr',
    missing: 'npm not found: install the npm that comes with Node.js',
    failed: 'npm ci failed: package.json and package-lock.json must agree, and the packages must be reachable',
  });
  say(`npm packages installed in ${secondsSince(startedMs)}`);
}
