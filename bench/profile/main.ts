/**
 * `npm run bench:profile`: where the processor time of our captures and restores goes, step by step.
 *
 * The hottest functions on stdout; flame graphs and the table in bench/results/.
 */

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import type { StepName } from '../compare/case.js';
import type { Command, Place } from '../compare/contender.js';
import { stillpoint } from '../compare/contenders/stillpoint.js';
import { imagesFor, warmCache } from '../compare/images.js';
import { compareOptions, UsageError } from '../compare/options.js';
import { CommandFailed, runCommand } from '../compare/process.js';
import { pointAt } from '../compare/round.js';
import { machineFacts, machineText } from '../machine.js';
import { writeResult } from '../results.js';
import { table } from '../table.js';
import { flameGraph } from './flame-graph.js';
import { hottest, stacksOf } from './stacks.js';

const steps: readonly StepName[] = ['full', 'changed', 'unchanged', 'restore'];
const hottestCount = 20;
const samplesPerSecond = 199;
/** Bytes of the stack that go with each sample, to be unwound later. */
const stackBytes = 16_384;

try {
  await run();
} catch (error) {
  console.error(error instanceof UsageError || error instanceof CommandFailed ? error.message : error);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

async function run(): Promise<void> {
  const options = compareOptions(process.argv.slice(2));
  await runCommand({ program: 'perf', args: ['--version'] }).catch(() => {
    throw new CommandFailed('perf is missing (Debian package linux-perf)');
  });
  const machine = machineText(machineFacts());
  const images = await imagesFor(options);
  await warmCache(images);
  const root = await mkdtemp(path.join(options.directory ?? tmpdir(), 'stillpoint-profile-'));
  try {
    const place: Place = {
      root,
      images: path.join(root, 'images'),
      names: images.names,
      store: path.join(root, 'store'),
      restored: path.join(root, 'restored'),
    };
    await mkdir(place.restored);
    await pointAt(place, images, 'full');
    for (const command of stillpoint.prepare(place)) await runCommand(command);
    const parts = [`# Where the time goes\n\n${machine}\n`];
    for (const step of steps) {
      await pointAt(place, images, step);
      const script = await profiled(stillpoint.commands(step, place), path.join(root, 'perf.data'));
      const stacks = stacksOf(script);
      await writeResult(`profile-${step}.svg`, flameGraph(`stillpoint, ${step}`, stacks));
      const rows = hottest(stacks, hottestCount).map(({ name, share }) => [name, `${(share * 100).toFixed(1)} %`]);
      parts.push(`## ${step}: ${stacks.samples} samples\n\n\`\`\`\n${table(['function', 'own time'], rows)}\n\`\`\`\n`);
    }
    const text = parts.join('\n');
    console.log(`${text}\nwrote ${await writeResult('profile.md', text)} and a flame graph of each step beside it`);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** Runs a step of one command under perf; gives its samples as text. */
async function profiled(commands: readonly Command[], file: string): Promise<string> {
  const [command, ...others] = commands;
  if (command === undefined || others.length > 0) throw new CommandFailed('a step of ours is one command');
  // The clock, not cycles: it is there in virtual machines too.
  const record = ['record', '-q', '-e', 'cpu-clock', '-F', String(samplesPerSecond), '-o', file];
  record.push('--call-graph', `dwarf,${stackBytes}`, '--', command.program, ...command.args);
  await runCommand({ ...command, program: 'perf', args: record });
  const script = ['script', '-i', file, '--no-inline', '-F', 'comm,ip,sym'];
  return (await runCommand({ program: 'perf', args: script })).stdout;
}
