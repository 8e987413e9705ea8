/**
 * `npm run bench`: the micro benches. A table on stdout; the figures with the machine's facts in bench/results/micro.json.
 *
 *     npm run bench                     all
 *     npm run bench -- --only diff      one suite; may be given again
 *     npm run bench -- --smoke          just enough to see that they run
 */

import { parseArgs } from 'node:util';

import { machineFacts, machineText } from '../machine.js';
import { writeJsonResult } from '../results.js';
import { measure, type MicroFigure } from './measure.js';
import { microTable } from './report.js';
import { measuredSize, smokeSize } from './suite.js';
import { suites } from './suites.js';

const { values } = parseArgs({ options: { only: { type: 'string', multiple: true }, smoke: { type: 'boolean' } } });
const unknown = (values.only ?? []).filter((name) => !suites.some((suite) => suite.name === name));

if (unknown.length > 0) {
  console.error(`no suite ${unknown.join(', ')}; there are ${suites.map(({ name }) => name).join(', ')}`);
  process.exitCode = 2;
} else {
  const machine = machineFacts();
  console.log(machineText(machine));
  const figures: MicroFigure[] = [];
  for (const suite of suites) {
    if (values.only !== undefined && !values.only.includes(suite.name)) continue;
    process.stderr.write(`${suite.name}: ${suite.question}\n`);
    figures.push(...(await measure(suite, values.smoke === true ? smokeSize : measuredSize)));
  }
  console.log(`\n${microTable(figures)}`);
  if (values.smoke !== true) console.log(`\nwrote ${await writeJsonResult('micro.json', { machine, figures })}`);
}
