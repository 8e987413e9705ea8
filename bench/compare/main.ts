/**
 * `npm run bench:compare`: whole processes, ours and others', on the same images in one run.
 *
 * A table on stdout; figures and plots in bench/results/. docs/benchmarking.md tells what is timed and what is not.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { machineFacts, machineText } from '../machine.js';
import { writeJsonResult, writeResult } from '../results.js';
import { caseResults, compareAll, present } from './comparison.js';
import { contenders } from './contenders/all.js';
import { imagesFor, warmCache, type Images } from './images.js';
import { compareOptions, usage, UsageError, type CompareOptions } from './options.js';
import { plot } from './plot.js';
import { CommandFailed } from './process.js';
import { comparisonTable } from './report.js';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

try {
  await run(compareOptions(process.argv.slice(2)));
} catch (error) {
  if (error instanceof UsageError) console.error(`${error.message}\n${usage}`);
  else console.error(error instanceof CommandFailed ? error.message : error);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

async function run(options: CompareOptions): Promise<void> {
  const unknown = (options.contenders ?? []).filter((name) => !contenders.some((each) => each.name === name));
  if (unknown.length > 0) {
    throw new UsageError(`no ${unknown.join(', ')}; there are ${contenders.map(({ name }) => name).join(', ')}`);
  }
  const machine = machineFacts();
  const images = await imagesFor(options);
  const asked = contenders.filter(
    ({ name, program }) => program === null || (options.contenders?.includes(name) ?? true),
  );
  const taking = await present(asked, say);
  console.log(`${machineText(machine)}\n${imagesText(images)}`);
  for (const { contender, version } of taking) console.log(`  ${contender.name}: ${version}; ${contender.settings}`);
  if (machine.memoryBytes < 3 * images.dataBytes)
    say('memory may not hold all images: disk reads will be in the times');

  const directory = await mkdtemp(path.join(options.directory ?? tmpdir(), 'stillpoint-compare-'));
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  const interrupted = (): void => void remove().finally(() => process.exit(130));
  process.once('SIGINT', interrupted);
  try {
    await warmCache(images);
    const present = taking.map(({ contender }) => contender);
    const { cases, runs } = options;
    const figures = await compareAll({ contenders: present, images, cases, runs, directory, say });
    const results = caseResults(cases, present, figures);
    console.log(`\n${comparisonTable(results)}`);
    const versions = taking.map(({ contender: { name, settings }, version }) => ({ name, settings, version }));
    const file = await writeJsonResult('compare.json', { machine, images, runs, versions, results, figures });
    for (const result of results) {
      if (result.entries.length > 0) await writeResult(`compare-${result.case.name}.svg`, plot(result));
    }
    console.log(`\nwrote ${file} and a plot of each case beside it`);
  } finally {
    process.off('SIGINT', interrupted);
    await remove();
  }
}

function imagesText({ names, sizeBytes, dataBytes }: Images): string {
  const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
  return `images ${names.join(', ')}: ${mebibytes(sizeBytes)}, of which ${mebibytes(dataBytes)} are allocated`;
}
