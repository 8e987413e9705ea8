/** Profiles: what perf prints becomes stacks, a table and a picture that keep every sample. */

import { expect, it } from 'vitest';

import { flameGraph } from '../../bench/profile/flame-graph.js';
import { hottest, stacksOf } from '../../bench/profile/stacks.js';

const sample = (thread: string, ...innermostFirst: readonly string[]): string =>
  `${thread} \n${innermostFirst.map((name, index) => `\t    7f00${index} ${name}`).join('\n')}\n`;

const script = [
  sample('scan-1', 'engine::hash::h0123456789abcdef', 'engine::scan', 'start'),
  sample('scan-1', 'engine::hash::hfedcba9876543210', 'engine::scan', 'start'),
  sample('scan-2', 'ZSTD_compress', 'engine::scan', 'start'),
  sample('node', '[unknown]'),
  sample('node', 'operator<', '[unknown]'),
].join('\n');

it('stacks keep every sample, and instances of a function are one', () => {
  const root = stacksOf(script);
  expect(root.samples).toBe(5);
  expect([...root.called.values()].map(({ name, samples }) => [name, samples])).toEqual([
    ['scan-1', 2],
    ['scan-2', 1],
    ['node', 2],
  ]);
  expect(hottest(root, 2)).toEqual([
    { name: 'engine::hash', share: 0.4 },
    { name: 'ZSTD_compress', share: 0.2 },
  ]);
});

it('a flame graph has a box for each function, as wide as its share', () => {
  const svg = flameGraph('a & b', stacksOf(script));
  expect(svg).toMatch(/^<svg [^]*a &amp; b; 5 samples[^]*<\/svg>\n$/);
  expect(svg).toContain('<title>scan-1: 40.00 %</title><rect x="0.0" y="17" width="480.0"');
  expect(svg).toContain('operator&lt;: 20.00 %');
  expect(svg.match(/<rect /g)).toHaveLength(13);
});

it('a profile without samples is an empty picture', () => {
  expect(flameGraph('nothing', stacksOf(''))).not.toContain('NaN');
});
