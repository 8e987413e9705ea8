/**
 * `npm run bench:live`: live disks through the library. A table on stdout; figures and plots in bench/results/live*.
 *
 *     npm run bench:live                     all: minutes, 6 GiB of disk
 *     npm run bench:live -- --only cut       one suite: cut writes large reads sustained open; may be given again
 *     npm run bench:live -- --dir DIR        where the stores are made; default the temporary directory
 *     npm run bench:live -- --smoke          just enough to see that it runs
 */

import { spawn } from 'node:child_process';

import { askedOf } from '../asked.js';
import { machineFacts, machineText } from '../machine.js';
import { writeJsonResult, writeResult } from '../results.js';
import { figureTable, type Figure } from '../figure.js';
import { writeAndDie } from './leave-log.js';
import { groups, plot } from '../bars.js';
import { measuredSize, smokeSize } from './size.js';
import { runSuite, suites } from './suites.js';

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const [step, storePath = '', bytes = '0'] = process.argv.slice(2);

if (step === 'step:leave-log') await writeAndDie(storePath, Number(bytes));
else await main();

async function main(): Promise<void> {
  const asked = askedOf(suites);
  if (asked === null) return;
  const size = asked.isSmoke ? smokeSize : measuredSize;
  const machine = machineFacts();
  console.log(machineText(machine));
  const figures: Figure[] = [];
  for (const suite of asked.suites) {
    say(`${suite.name}: ${suite.question}`);
    figures.push(...(await runSuite(suite, asked.directory, { size, say, leaveLog: inProcess })));
  }
  console.log(`\n${figureTable(figures)}`);
  if (asked.isSmoke) return;
  for (const [title, group] of groups(figures)) {
    const name = `live-${title
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/-$/, '')}.svg`;
    console.log(`wrote ${await writeResult(name, plot(title, group))}`);
  }
  console.log(`wrote ${await writeJsonResult('live.json', { machine, figures })}`);
}

/** The step in a process of its own, which ends by a signal. */
function inProcess(path: string, size: number): Promise<void> {
  const [, program = ''] = process.argv;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, 'step:leave-log', path, String(size)], { stdio: 'inherit' });
    child.once('exit', (_, signal) =>
      signal === 'SIGKILL' ? resolve() : reject(new Error('the process that fills the log failed')),
    );
  });
}
