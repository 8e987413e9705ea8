/**
 * `npm run bench:collect`: a collection of a store with a third of its chunks dead, and captures beside it.
 *
 *     npm run bench:collect                    a million chunks; 8 GiB of disk, some minutes
 *     npm run bench:collect -- --chunks 60000  fewer
 *     npm run bench:collect -- --in DIR        work in a new folder of DIR instead of the system's temporary one
 */

import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { machineFacts, machineText } from '../machine.js';
import { writeJsonResult } from '../results.js';
import { table } from '../table.js';
import { benchCollect } from './run.js';

const { values } = parseArgs({ options: { chunks: { type: 'string' }, in: { type: 'string' } } });
const chunks = Number(values.chunks ?? '1000000');
const directory = path.join(values.in ?? tmpdir(), `stillpoint-bench-collect-${process.pid}`);

if (!Number.isSafeInteger(chunks) || chunks < 100) {
  console.error(`--chunks is ${values.chunks ?? ''}; it is a whole number from 100 on`);
  process.exitCode = 2;
} else {
  const machine = machineFacts();
  console.log(machineText(machine));
  const figures = await benchCollect(directory, chunks, (line) => process.stderr.write(`${line}\n`));
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const times = (spread: typeof figures.captureAlone): string =>
    spread === null
      ? '-'
      : `${spread.median.toFixed(0)} ms (${spread.min.toFixed(0)} to ${spread.max.toFixed(0)}, ${spread.count} times)`;
  console.log(
    table(
      ['what', 'figure'],
      [
        ['chunks and nodes before', String(figures.chunks)],
        ['of which dead', String(figures.dead)],
        ['collect, beside captures', `${figures.collectSeconds.toFixed(1)} s`],
        ['moved', mebibytes(figures.report.bytesRewritten)],
        ['freed', mebibytes(figures.report.bytesFreed)],
        ['freed, by the dry run before', mebibytes(figures.plannedBytesFreed)],
        ['packs before', mebibytes(figures.packBytesBefore)],
        ['packs after', mebibytes(figures.packBytesAfter)],
        ['peak memory before', mebibytes(figures.peakBytesBefore)],
        ['peak memory after', mebibytes(figures.peakBytesAfter)],
        ['capture alone', times(figures.captureAlone)],
        ['capture beside', times(figures.captureBeside)],
        ['findings of verify afterwards', String(figures.findings)],
      ],
    ),
  );
  console.log(`\nwrote ${await writeJsonResult('collect.json', { machine, figures })}`);
}
