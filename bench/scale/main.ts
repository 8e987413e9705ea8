/**
 * `npm run bench:scale`: a store as it is with terabytes in it. A table on stdout; the figures in bench/results/scale.json.
 *
 *     npm run bench:scale                     all: minutes, 4 GiB of disk, 1 GiB of memory
 *     npm run bench:scale -- --only diff      one suite: index diff points sparse; may be given again
 *     npm run bench:scale -- --dir DIR        where the stores are made; default the temporary directory
 *     npm run bench:scale -- --smoke          just enough to see that it runs
 */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { askedOf } from '../asked.js';
import { machineFacts, machineText } from '../machine.js';
import { writeJsonResult } from '../results.js';
import { scaleTable, type ScaleFigure } from './figure.js';
import { measuredSize, smokeSize, type StepFigures } from './size.js';
import { runStep } from './steps.js';
import { runSuite, suites } from './suites.js';

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const [step, ...stepArgs] = process.argv.slice(2);

if (step?.startsWith('step:') === true) {
  console.log(JSON.stringify(await runStep(step.slice('step:'.length), stepArgs)));
} else {
  await main();
}

async function main(): Promise<void> {
  const asked = askedOf(suites);
  if (asked === null) return;
  const size = asked.isSmoke ? smokeSize : measuredSize;
  const machine = machineFacts();
  console.log(machineText(machine));
  const figures: ScaleFigure[] = [];
  for (const suite of asked.suites) {
    say(`${suite.name}: ${suite.question}`);
    figures.push(...(await runSuite(suite, asked.directory, { size, say, alone: inProcess })));
  }
  console.log(`\n${scaleTable(figures)}`);
  if (!asked.isSmoke) console.log(`\nwrote ${await writeJsonResult('scale.json', { machine, figures })}`);
}

/** A step in a new process of this program. */
async function inProcess(name: string, args: readonly string[]): Promise<StepFigures> {
  const [, program = ''] = process.argv;
  const { stdout } = await promisify(execFile)(process.execPath, [program, `step:${name}`, ...args]);
  return JSON.parse(stdout) as StepFigures;
}
