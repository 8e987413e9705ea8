/** What a figure must be read with: the machine, the versions, and how busy the machine was. */

import { execFileSync } from 'node:child_process';
import { arch, availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

import { checkout } from './checkout.js';

export interface MachineFacts {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
  /** Processes that wanted to run in the last minute, at the start. Well above 0: others were at work too. */
  readonly load: number;
  /** The commit, with `+changes` where the tree differs from it; `none` without git. */
  readonly commit: string;
  readonly startedMs: number;
}

export function machineFacts(): MachineFacts {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${process.platform} ${release()} ${arch()}`,
    node: process.versions.node,
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
    commit: commitName(),
    startedMs: Date.now(),
  };
}

/** The facts on two lines, for people. */
export function machineText(facts: MachineFacts): string {
  const memory = `${Math.round(facts.memoryBytes / 2 ** 30)} GiB`;
  return [
    `${facts.processor}, ${facts.cores} cores, ${memory}; ${facts.system}; Node.js ${facts.node}`,
    `commit ${facts.commit}; load ${facts.load} at the start`,
  ].join('\n');
}

function commitName(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: checkout, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+changes');
  } catch {
    return 'none';
  }
}
