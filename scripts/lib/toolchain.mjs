/** The Rust toolchain and the C compiler it calls: found, new enough, or a word about what to install. */

import { accessSync, constants, readFileSync } from 'node:fs';
import path from 'node:path';

import { inRoot } from './root.mjs';
import { mustRun, run, StepError } from './run.mjs';

/** Lowest Rust version, from the workspace manifest. */
function rustLowest() {
  const manifest = readFileSync(inRoot('native/Cargo.toml'), 'utf8');
  const found = /^rust-version\s*=\s*"([\d.]+)"/m.exec(manifest);
  if (found === null) throw new StepError('native/Cargo.toml names no rust-version');
  return found[1];
}

function isOlder(version, lowest) {
  const [left, right] = [version, lowest].map((text) => text.split('.').map(Number));
  for (const [index, part] of right.entries()) {
    if ((left[index] ?? 0) !== part) return (left[index] ?? 0) < part;
  }
  return false;
}

function isOnPath(program) {
  if (program.includes('/')) return isProgram(program);
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter((folder) => folder !== '');
  return folders.some((folder) => isProgram(path.join(folder, program)));
}

function isProgram(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Resolves with the toolchain's own description, or throws what to install. */
export async function requireToolchain() {
  const lowest = rustLowest();
  const advice = `install Rust ${lowest} or newer from your distribution or with rustup`;
  const missing = `cargo not found: ${advice}`;
  const text = await mustRun('cargo', ['--version'], { output: 'capture', missing, failed: 'cargo does not start' });
  const version = /^cargo (\d+\.\d+\.\d+)/m.exec(text)?.[1];
  if (version === undefined) throw new StepError(`cargo gives no version: ${text.trim()}`);
  if (isOlder(version, lowest)) throw new StepError(`cargo ${version} is too old: ${advice}`);

  const compiler = process.env['CC'] ?? 'cc';
  if (!isOnPath(compiler.split(' ')[0])) {
    throw new StepError(`C compiler ${compiler} not found: install gcc or clang (Debian: build-essential)`);
  }
  return mustRun('rustc', ['-vV'], { output: 'capture', missing: `rustc not found: ${advice}` });
}

/** The target triple of the machine, from what `requireToolchain` gave. */
export function hostTriple(description) {
  const host = /^host: (\S+)$/m.exec(description)?.[1];
  if (host === undefined) throw new StepError(`rustc names no host: ${description.trim()}`);
  return host;
}

/** Throws what to install when a part of the toolchain is not there. */
export async function requireCargoPart(part, component) {
  const { code } = await run('cargo', [part, '--version'], { output: 'capture', missing: 'cargo not found' });
  if (code !== 0) {
    throw new StepError(`cargo ${part} not found: rustup component add ${component}, or your distribution's package`);
  }
}
