/**
 * What does the chunk index of 1 TiB of unique data cost, and how fast does it answer?
 *
 * Unit: an index of 16.8 million ids in a real directory, over 16 thousand real packs with chunks of 8 bytes, everything
 * in the page cache; one thread. Expected: in memory 12 bits an id for the filter, 8 bytes a page of 77, 24 bytes
 * and a table entry a pack: 29 MiB. An unknown id asks some five filters, each a line of memory that no cache holds: 0.4 us.
 * A known one reads and checks a page of 4 KiB besides: 1.5 us. A commit writes what is new (60 ns an id) and rewrites at most
 * 4 million older entries (80 ns each). A rebuild reads 16 thousand trailers (50 us each) and writes every entry twice: 4 s.
 */

import { addon } from '../micro/addon.js';
import { figuresOf, type ScaleFigure } from './figure.js';
import { mebibytes, median, millisecondsOf, timesOf } from './measure.js';
import type { ScaleContext, ScaleSuite } from './size.js';

const figure = figuresOf('index');
const batches = [64, 4_096] as const;

export const index: ScaleSuite = {
  name: 'index',
  question: 'What does the chunk index of 1 TiB cost, and how fast does it answer?',
  run,
};

async function run({ size, directory, alone, say }: ScaleContext): Promise<ScaleFigure[]> {
  const store = `${directory}/store`;
  const tebibytes = size.ids / 2 ** 24;
  say(`index: one capture of ${size.ids} new chunks`);
  const filled = await alone('fill', [store, '0', String(size.ids)]);
  const opened = await alone('open', [store, String(size.ids)]);
  const figures = [
    figure('ids', size.ids, 'count'),
    figure('first capture, its packs included: ids', (size.ids / filled.milliseconds) * 1e3, 'per s'),
    figure('first capture: peak memory', mebibytes(filled.peakBytes), 'MiB'),
    figure('open: anonymous memory', mebibytes(opened.anonymousBytes), 'MiB', {
      must: 64 * tebibytes,
      aim: 32 * tebibytes,
    }),
    figure('open: peak memory', mebibytes(opened.peakBytes), 'MiB'),
  ];

  const probe = new addon.NativeScaleProbe(store, 1, size.ids);
  const openTimes = await timesOf(5, () => {
    probe.open();
  });
  figures.push(figure('open', median(openTimes), 'ms'));
  figures.push(...(await lookUps(probe, size.lookups)));

  say('index: commits');
  const commits = await timesOf(size.runs, () => {
    probe.add(size.smallCommit);
  });
  figures.push(figure(`commit of ${size.smallCommit}: median`, median(commits), 'ms'));
  figures.push(figure(`commit of ${size.smallCommit}: worst of ${size.runs}`, Math.max(...commits), 'ms'));
  const large = await timesOf(6, () => {
    probe.add(size.largeCommit);
  });
  figures.push(figure(`commit of ${size.largeCommit}: median`, median(large), 'ms'));
  figures.push(figure(`commit of ${size.largeCommit}: worst of 6`, Math.max(...large), 'ms'));
  figures.push(figure('segments', probe.segmentCount(), 'count'));
  figures.push(figure('index on disk', mebibytes(probe.indexBytes()), 'MiB'));
  probe.close();

  say('index: rebuild from trailers');
  const rebuilt = await alone('rebuild', [store, String(size.ids)]);
  figures.push(figure('rebuild', rebuilt.milliseconds, 'ms'));
  figures.push(figure('rebuild: peak memory', mebibytes(rebuilt.peakBytes), 'MiB'));
  return figures;
}

async function lookUps(probe: InstanceType<typeof addon.NativeScaleProbe>, count: number): Promise<ScaleFigure[]> {
  const figures: ScaleFigure[] = [];
  for (const known of [true, false]) {
    probe.choose(count, known, 5);
    const each = async (name: string, look: () => number): Promise<void> => {
      const times: number[] = [];
      for (let run = 0; run < 5; run += 1) {
        let found = 0;
        times.push(await millisecondsOf(() => (found = look())));
        if (found !== (known ? count : 0)) throw new Error(`${found} of ${count} ids were found`);
      }
      figures.push(
        figure(`look-up of ${known ? 'a known' : 'an unknown'} id, ${name}`, (median(times) * 1e3) / count, 'us'),
      );
    };
    await each('alone', () => probe.lookUp());
    for (const batch of batches) await each(`of ${batch}`, () => probe.lookUpBatched(batch));
  }
  return figures;
}
