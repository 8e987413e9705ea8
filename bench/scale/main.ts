/**
 * `npm run bench:scale`: a store as it is with terabytes in it. A table on stdout; the figures in bench/results/scale.json.
 *
 *     npm run bench:scale                     all: minutes, 4 GiB of disk, 1 GiB of memory
 *     npm run bench:scale -- --only diff      one suite: index diff points sparse; may be given again
 *     npm run bench:scale -- --dir DIR        where the stores are made; default the temporary directory
 *     npm run bench:scale -- --smoke          just enough to see that it runs
 */

import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { parseArgs, promisify } from 'node:util';

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
  const { values } = parseArgs({
    options: { only: { type: 'string', multiple: true }, dir: { type: 'string' }, smoke: { type: 'boolean' } },
  });
  const unknown = (values.only ?? []).filter((name) => !suites.some((suite) => suite.name === name));
  if (unknown.length > 0) {
    console.error(`no suite ${unknown.join(', ')}; there are ${suites.map(({ name }) => name).join(', ')}`);
    process.exitCode = 2;
    return;
  }
  const size = values.smoke === true ? smokeSize : measuredSize;
  const machine = machineFacts();
  console.log(machineText(machine));
  const figures: ScaleFigure[] = [];
  for (const suite of suites.filter(({ name }) => values.only?.includes(name) ?? true)) {
    say(`${suite.name}: ${suite.question}`);
    figures.push(...(await runSuite(suite, values.dir ?? tmpdir(), { size, say, alone: inProcess })));
  }
  console.log(`\n${scaleTable(figures)}`);
  if (values.smoke !== true) console.log(`\nwrote ${await writeJsonResult('scale.json', { machine, figures })}`);
}

/** A step in a new process of this program. */
async function inProcess(name: string, args: readonly string[]): Promise<StepFigures> {
  const [, program = ''] = process.argv;
  const { stdout } = await promisify(execFile)(process.execPath, [program, `step:${name}`, ...args]);
  return JSON.parse(stdout) as StepFigures;
}
