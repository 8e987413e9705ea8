/**
 * `npm run bench:nbd`: disks over NBD beside qemu-nbd and nbdkit, with fio. A table on stdout; figures and plots in
 * bench/results/nbd*.
 *
 *     npm run bench:nbd                     all: 15 minutes, 6 GiB of disk
 *     npm run bench:nbd -- --only small     one suite: large small packs copy; may be given again
 *     npm run bench:nbd -- --dir DIR        where disks are made; default the temporary directory
 *     npm run bench:nbd -- --smoke          just enough to see that it runs
 */

import { askedOf } from '../asked.js';
import { groups, plot } from '../bars.js';
import { figureTable, type Figure } from '../figure.js';
import { machineFacts, machineText } from '../machine.js';
import { writeJsonResult, writeResult } from '../results.js';
import { serve } from './serve.js';
import { presentContenders } from './servers.js';
import { measuredSize, smokeSize } from './size.js';
import { runSuite, suites } from './suites.js';

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const [step, storePath = '', socket = '', bytes = '0'] = process.argv.slice(2);

if (step === 'step:serve') await serve(storePath, socket, Number(bytes));
else await main();

async function main(): Promise<void> {
  const asked = askedOf(suites);
  if (asked === null) return;
  const contenders = presentContenders(say);
  const size = asked.isSmoke ? smokeSize : measuredSize;
  const machine = machineFacts();
  console.log(machineText(machine));
  const figures: Figure[] = [];
  for (const suite of asked.suites) {
    say(`${suite.name}: ${suite.question}`);
    figures.push(...(await runSuite(suite, asked.directory, { size, contenders, say })));
  }
  console.log(`\n${figureTable(figures)}`);
  if (asked.isSmoke) return;
  for (const [title, group] of groups(figures)) {
    const name = `nbd-${title.replace(/[^a-z0-9]+/gi, '-').replace(/-$/, '')}.svg`;
    console.log(`wrote ${await writeResult(name, plot(title, group))}`);
  }
  console.log(`wrote ${await writeJsonResult('nbd.json', { machine, figures })}`);
}
