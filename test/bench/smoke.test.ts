/** The benches run: every micro case and every suite of scale at its smallest size, a collection, two contenders. */

import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { benchCollect } from '../../bench/collect/run.js';
import { caseResults, compareAll } from '../../bench/compare/comparison.js';
import { stepsFor } from '../../bench/compare/case.js';
import { copy } from '../../bench/compare/contenders/copy.js';
import { stillpoint } from '../../bench/compare/contenders/stillpoint.js';
import { imagesFor } from '../../bench/compare/images.js';
import { compareOptions, UsageError } from '../../bench/compare/options.js';
import { plot } from '../../bench/compare/plot.js';
import { comparisonTable } from '../../bench/compare/report.js';
import { figureTable } from '../../bench/figure.js';
import { groups, plot as livePlot } from '../../bench/bars.js';
import { smokeSize as smallLive } from '../../bench/live/size.js';
import { runSuite as runLive, suites as liveSuites } from '../../bench/live/suites.js';
import { measure } from '../../bench/micro/measure.js';
import { microTable } from '../../bench/micro/report.js';
import { sampleOf } from '../../bench/micro/sample.js';
import { smokeSize } from '../../bench/micro/suite.js';
import { suites } from '../../bench/micro/suites.js';
import { scaleTable } from '../../bench/scale/figure.js';
import { smokeSize as smallScale } from '../../bench/scale/size.js';
import { runStep } from '../../bench/scale/steps.js';
import { runSuite, suites as scaleSuites } from '../../bench/scale/suites.js';
import { spreadOf } from '../../bench/spread.js';

describe('a micro bench', () => {
  it.each(suites)('$name gives a figure for every case', async (suite) => {
    const figures = await measure(suite, smokeSize);

    expect(figures.length).toBeGreaterThan(0);
    for (const figure of figures) expect(figure.medianMicroseconds, figure.case).toBeGreaterThan(0);
    expect(microTable(figures).split('\n')).toHaveLength(figures.length + 1);
  });
});

describe('a store of terabytes, made small,', () => {
  it.each(scaleSuites)('gives figures: $name', async (suite) => {
    const context = { size: smallScale, say: () => undefined, alone: runStep };
    const figures = await runSuite(suite, tmpdir(), context);

    expect(figures.length).toBeGreaterThan(0);
    for (const figure of figures) expect(Number.isFinite(figure.value), figure.what).toBe(true);
    expect(scaleTable(figures).split('\n')).toHaveLength(figures.length + 1);
  });
});

describe('live disks, for a moment,', () => {
  it.each(liveSuites)('give figures: $name', async (suite) => {
    const context = { size: smallLive, say: () => undefined, leaveLog: () => Promise.resolve() };
    const figures = await runLive(suite, tmpdir(), context);

    expect(figures.length).toBeGreaterThan(0);
    for (const figure of figures) expect(Number.isFinite(figure.value), figure.what).toBe(true);
    expect(figureTable(figures).split('\n')).toHaveLength(figures.length + 1);
    for (const [title, group] of groups(figures)) {
      expect(livePlot(title, group)).toMatch(/^<svg (?!.*NaN)/);
    }
  });
});

describe('a collection', () => {
  it('frees the dead third, beside captures, and leaves a sound store', async () => {
    const directory = path.join(await mkdtemp(path.join(tmpdir(), 'stillpoint-collect-test-')), 'bench');
    const figures = await benchCollect(directory, 600, () => undefined);
    await rm(path.dirname(directory), { recursive: true, force: true });

    expect(figures.findings).toBe(0);
    expect(figures.report.chunksRemoved).toBeGreaterThanOrEqual(200);
    expect(figures.packBytesAfter).toBeLessThan(figures.packBytesBefore);
    expect(figures.captureBeside?.count).toBeGreaterThan(0);
  });
});

describe('a comparison', () => {
  let place = '';
  beforeAll(async () => {
    place = await mkdtemp(path.join(tmpdir(), 'stillpoint-compare-test-'));
    for (const [moment, kind] of [
      ['1', 'text'],
      ['2', 'random'],
    ] as const) {
      await mkdir(path.join(place, 'images', moment), { recursive: true });
      for (const role of ['os', 'data']) {
        await writeFile(path.join(place, 'images', moment, `${role}.raw`), sampleOf(kind, 4));
      }
    }
    await mkdir(path.join(place, 'stores'));
  });
  afterAll(() => rm(place, { recursive: true, force: true }));

  it('takes both through every step they can do, checks what came back, and leaves nothing', async () => {
    const options = compareOptions(['--runs', '1', '--images', path.join(place, 'images')]);
    const contenders = [stillpoint, copy];
    const figures = await compareAll({
      ...{ contenders, cases: options.cases, runs: options.runs, say: () => undefined },
      images: await imagesFor(options),
      directory: path.join(place, 'stores'),
    });
    const results = caseResults(options.cases, contenders, figures);

    const taking = results.map((result) => [result.case.name, ...result.entries.map(({ contender }) => contender)]);
    expect(taking).toEqual([
      ['full', 'stillpoint', 'copy'],
      ['changed', 'stillpoint', 'copy'],
      ['unchanged', 'stillpoint'],
      ['restore', 'stillpoint', 'copy'],
      ['store', 'stillpoint', 'copy'],
    ]);
    expect(comparisonTable(results)).toContain('restore both, not synced');
    expect(results.map(plot).every((svg) => svg.startsWith('<svg ') && !svg.includes('NaN'))).toBe(true);
    expect(await readdir(path.join(place, 'stores'))).toEqual([]);
  });

  it('runs only the steps that the cases asked for stand on', () => {
    expect(stepsFor(['restore'])).toEqual(['full', 'changed', 'restore']);
    expect(stepsFor(['full'])).toEqual(['full']);
  });

  it.each([[['--only', 'speed']], [['--runs', '0']], [['--what']]])('refuses %j', (args) => {
    expect(() => compareOptions(args)).toThrow(UsageError);
  });
});

describe('a spread', () => {
  it.each([
    [[], null],
    [[3], { median: 3, min: 3, max: 3, count: 1 }],
    [[4, 1, 2, 3], { median: 2.5, min: 1, max: 4, count: 4 }],
  ])('of %j is %j', (values, expected) => {
    expect(spreadOf(values)).toEqual(expected);
  });
});
