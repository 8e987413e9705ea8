/**
 * Starting other programs, and ending with a clear word when something is missing or fails.
 *
 * Scripts load Node's own modules only, so that they work before anything is installed. What they say themselves goes
 * to stderr: stdout belongs to the program that the user asked for.
 */

import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';

import { root } from './root.mjs';

/** A failure that the user can act on: printed without a stack. */
export class StepError extends Error {
  name = 'StepError';
}

/** Lowest Node.js that the product and its tools run on; `engines` in package.json says the same. */
const nodeLowest = [20, 19];

/** Runs a script's main function; a rejected promise becomes a message and exit code 1. */
export async function main(work) {
  try {
    const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
    if (major < nodeLowest[0] || (major === nodeLowest[0] && minor < nodeLowest[1])) {
      throw new StepError(`Node.js ${process.versions.node} is too old: install ${nodeLowest.join('.')} or newer`);
    }
    await work();
  } catch (error) {
    console.error(error instanceof StepError ? error.message : error);
    process.exitCode = 1;
  }
}

/** One line about what happens, on stderr. */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/** Seconds since `startedMs`, for people. */
export function secondsSince(startedMs) {
  return `${((Date.now() - startedMs) / 1000).toFixed(1)} s`;
}

/**
 * Runs a program to its end and resolves with its exit code.
 *
 * `output`: 'inherit' (default), 'stderr' (both streams to our stderr), 'capture' (nothing is shown; `text` has both), or
 * 'lines' (stdout is shown and `onLine` sees each line). A program that is not there throws a `StepError` with `missing`.
 */
export async function run(command, args, { cwd = root, env, output = 'inherit', onLine, missing } = {}) {
  const stdio = {
    inherit: ['ignore', 'inherit', 'inherit'],
    stderr: ['ignore', process.stderr, process.stderr],
    capture: ['ignore', 'pipe', 'pipe'],
    lines: ['ignore', 'pipe', 'inherit'],
  }[output];
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio });
  let text = '';
  if (output === 'capture') {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
    }
  }
  if (output === 'lines') {
    createInterface({ input: child.stdout }).on('line', (line) => {
      process.stdout.write(`${line}\n`);
      onLine(line);
    });
  }
  const code = await new Promise((resolve, reject) => {
    child.on('error', (error) => {
      const isMissing = error.code === 'ENOENT';
      reject(isMissing ? new StepError(missing ?? `${command} not found`) : error);
    });
    // 'close' and not 'exit': all output has been read by then.
    child.on('close', (status, signal) => {
      resolve(status ?? 128 + (constants.signals[signal] ?? 0));
    });
  });
  return { code, text };
}

/** Runs a program that has to succeed. */
export async function mustRun(command, args, options = {}) {
  const { failed, ...rest } = options;
  const result = await run(command, args, rest);
  if (result.code !== 0) {
    const shown = result.text === '' ? '' : `\n${result.text.trimEnd()}`;
    throw new StepError(`${failed ?? `${command} ${args.join(' ')} failed`} (exit code ${result.code})${shown}`);
  }
  return result.text;
}
