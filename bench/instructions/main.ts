/**
 * `npm run bench:instructions`: instructions of the hot paths under callgrind, beside the committed baseline.
 *
 *     npm run bench:instructions                 the table
 *     npm run bench:instructions -- --check      fails when a path has changed by more than 5 %
 *     npm run bench:instructions -- --update     makes what was found the new baseline
 */

import { parseArgs } from 'node:util';

import { CommandFailed } from '../compare/process.js';
import { changesSince, changeTable, differences, readBaseline, writeBaseline } from './baseline.js';
import { circumstances, measureInstructions, whatIsMissing } from './measure.js';

const { values } = parseArgs({ options: { check: { type: 'boolean' }, update: { type: 'boolean' } } });

try {
  process.exitCode = await run();
} catch (error) {
  console.error(error instanceof CommandFailed ? error.message : error);
  process.exitCode = 1;
}

async function run(): Promise<number> {
  const missing = await whatIsMissing();
  if (missing !== null) {
    console.error(missing);
    return 1;
  }
  const [here, counts] = [await circumstances(), await measureInstructions()];
  if (values.update === true) {
    console.log(`wrote ${await writeBaseline({ circumstances: here, counts })}`);
    return 0;
  }
  const baseline = await readBaseline();
  const changes = changesSince(baseline.counts, counts);
  console.log(changeTable(changes));
  const others = differences(baseline.circumstances, here);
  if (others.length > 0) console.log(`\nnot comparable with the baseline:\n  ${others.join('\n  ')}`);
  const changed = changes.filter(({ hasChanged }) => hasChanged).map(({ path }) => path);
  if (changed.length === 0) return 0;
  console.log(`\nchanged by more than 5 %: ${changed.join(', ')}; when that is meant, commit the result of --update`);
  return values.check === true ? 1 : 0;
}
