/** One process from its start to its end: how long, how much processor time, how much memory at most. */

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

import type { Command } from './contender.js';

export interface Ran {
  readonly seconds: number;
  /** Of the process and what it waited for, in user and system; 0 where the system does not tell. */
  readonly processorSeconds: number;
  /** Largest resident set of the process itself that was seen. */
  readonly memoryBytes: number;
  readonly stdout: string;
}

/** A command that failed, with what it said. */
export class CommandFailed extends Error {
  override name = 'CommandFailed';
}

/** How often the memory is looked at. The kernel keeps the peak, so only what comes after the last look is missed. */
const lookMs = 50;

/** Ticks a second in /proc/PID/stat: 100 on every Linux that Node.js runs on. */
const ticksPerSecond = 100;

/**
 * This process's environment without what is meant for Node.js alone: where it names a file of certificates, as behind a
 * company's proxy, each process of Node.js reads all of it at its start, which takes longer than the start.
 */
function ownEnvironment(): NodeJS.ProcessEnv {
  const all = Object.entries(process.env);
  return Object.fromEntries(all.filter(([name]) => name !== 'NODE_EXTRA_CA_CERTS' && name !== 'NODE_OPTIONS'));
}

/** Runs a command to its end. Only one may run at a time: processor time is taken from what all children used. */
export async function runCommand(command: Command): Promise<Ran> {
  const environment = { ...ownEnvironment(), ...command.environment };
  const before = childrenSeconds();
  const started = performance.now();
  const child = spawn(command.program, command.args, {
    cwd: command.directory,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (part: string) => (said.stdout += part));
  child.stderr.setEncoding('utf8').on('data', (part: string) => (said.stderr += part));
  let memoryBytes = 0;
  const looking = setInterval(() => {
    memoryBytes = Math.max(memoryBytes, child.pid === undefined ? 0 : peakBytes(child.pid));
  }, lookMs);
  let ended = started;
  const code = await new Promise<number | string>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', () => (ended = performance.now()));
    child.on('close', (status, signal) => resolve(status ?? signal ?? 'unknown'));
  }).finally(() => clearInterval(looking));
  if (code !== 0) {
    const line = [command.program, ...command.args].join(' ');
    throw new CommandFailed(`${line} failed (${code})\n${(said.stderr || said.stdout).trim().slice(-2_000)}`);
  }
  return {
    seconds: (ended - started) / 1_000,
    processorSeconds: childrenSeconds() - before,
    memoryBytes,
    stdout: said.stdout,
  };
}

/** Processor time of all children that have ended: fields 16 and 17 of proc_pid_stat(5). */
function childrenSeconds(): number {
  const text = readProc('/proc/self/stat');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13] ?? 0) + Number(fields[14] ?? 0)) / ticksPerSecond;
}

function peakBytes(pid: number): number {
  return Number(/^VmHWM:\s*(\d+) kB/m.exec(readProc(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
}

/** A file of /proc; empty when the process is gone. */
function readProc(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
