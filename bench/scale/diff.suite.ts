/**
 * How long does a diff of two points of a disk of 1 TiB take, with a store of that size around it?
 *
 * Unit: one diff of maps of 16.8 million chunks that differ in 1,000, nodes in the page cache and none in memory; as
 * many threads as there are cores, as the library has. Expected: a node is looked up (2 us), read (0.7), checked and proven
 * (1.7), decoded (0.5): 5 us. Clustered changes are under 40 nodes of both maps: 0.2 ms. Random ones under 4,000:
 * 20 ms of processor, on two cores 10 ms.
 */

import { availableParallelism } from 'node:os';

import { addon } from '../micro/addon.js';
import { figuresOf, type ScaleFigure } from './figure.js';
import { median, timesOf } from './measure.js';
import type { ScaleContext, ScaleSuite } from './size.js';

const figure = figuresOf('diff');

export const diff: ScaleSuite = {
  name: 'diff',
  question: 'How long does a diff of two points of a disk of 1 TiB take?',
  run,
};

async function run({ size, directory, alone, say }: ScaleContext): Promise<ScaleFigure[]> {
  const store = `${directory}/store`;
  say(`diff: a store of ${size.ids} chunks`);
  await alone('fill', [store, '0', String(size.ids)]);
  const probe = new addon.NativeScaleProbe(store, availableParallelism(), size.ids);
  const figures: ScaleFigure[] = [];
  for (const [name, clustered, must] of [
    ['clustered', true, 10],
    ['random', false, 25],
  ] as const) {
    say(`diff: maps of ${size.ids} chunks, ${name}`);
    probe.makeMaps(size.ids, size.changedChunks, clustered);
    const extents = probe.diff();
    if (clustered ? extents !== 1 : extents < size.changedChunks * 0.9) throw new Error(`${extents} extents differ`);
    const processor = process.cpuUsage();
    const times = await timesOf(size.runs, () => probe.diff());
    const { user, system } = process.cpuUsage(processor);
    figures.push(figure(`${size.changedChunks} chunks, ${name}`, median(times), 'ms', { must, aim: must / 2 }));
    figures.push(figure(`${size.changedChunks} chunks, ${name}: fastest of ${size.runs}`, Math.min(...times), 'ms'));
    figures.push(figure(`${size.changedChunks} chunks, ${name}: processor`, (user + system) / 1e3 / size.runs, 'ms'));
  }
  probe.close();
  return figures;
}
