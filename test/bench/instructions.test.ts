/** The bench of instructions: it measures every path, twice the same, and tells a change from none. */

import { describe, expect, it } from 'vitest';

import { changesSince, changeTable, differences, readBaseline } from '../../bench/instructions/baseline.js';
import { circumstances, countsOf, measureInstructions, paths } from '../../bench/instructions/measure.js';
import { requireTool } from '../house/tools.js';

const valgrind = requireTool('valgrind');
/** The baseline is of this architecture. */
const isMeasured = !valgrind.isMissing && process.arch === 'x64';

describe('the instructions of the hot paths', () => {
  // The build of the bench, with the optimizer, is what takes the time.
  it.skipIf(!isMeasured)('are counted, and beside the baseline', { timeout: 600_000 }, async () => {
    const [baseline, counts] = [await readBaseline(), await measureInstructions()];
    expect(Object.keys(counts)).toEqual([...paths.keys()]);
    expect(Object.keys(baseline.counts)).toEqual([...paths.keys()]);
    const changes = changesSince(baseline.counts, counts);
    const others = differences(baseline.circumstances, await circumstances());
    if (changes.some(({ hasChanged }) => hasChanged)) {
      // Said, not failed: docs/benchmarking.md tells why.
      process.stderr.write(`instructions:\n${[changeTable(changes), ...others].join('\n')}\n`);
    }

    const again = changesSince(counts, await measureInstructions());
    for (const { path, share } of again) expect(Math.abs(share ?? 1), path).toBeLessThan(0.005);
  });
});

describe('a count', () => {
  const names = [...paths.keys()];
  const printed = names.map((name) => `${name} 10`).join('\n');
  const call = (name: string, index: number, cost: number): string =>
    `cfn=(${index}) instructions::measured_${name}\ncalls=1 0 \n31 ${cost}\n`;
  const calls = names.map((name, index) => call(name, index, 1000));
  const profile = (total: number, ...parts: readonly string[]): string =>
    `events: Ir\nsummary: ${total}\n\nfn=(99) main\n12 7\n${parts.join('')}`;

  it('is what a path cost with all that it called, for one operation', () => {
    const inner = 'cfn=(98) instructions::other\ncalls=8 0 \n31 400\n';
    const twice = 'cfn=(0)\ncalls=1 0 \n40 500\n';
    const counts = countsOf(printed, profile(names.length * 1000 + 500, inner, ...calls, twice));
    expect(counts).toEqual({ ...Object.fromEntries(names.map((name) => [name, 100])), hash: 150 });
  });

  it.each([
    ['a path that was not called', printed, profile((names.length - 1) * 1000, ...calls.slice(1))],
    ['a path that the bench left out', printed.split('\n').slice(1).join('\n'), profile(names.length * 1000, ...calls)],
    ['a profile that counts more than the paths', printed, profile(names.length * 1000 + 1, ...calls)],
    ['a profile without a sum', printed, calls.join('')],
  ])('is refused for %s', (_name, text, found) => {
    expect(() => countsOf(text, found)).toThrow(/counted|says nothing/);
  });

  it.each([
    [100, 105, false],
    [100, 106, true],
    [100, 95, false],
    [100, 94, true],
    [null, 5, true],
  ])('of %j that is now %j has changed: %j', (before, now, hasChanged) => {
    const baseline = before === null ? {} : { hash: before };
    expect(changesSince(baseline, { hash: now })).toMatchObject([{ path: 'hash', before, now, hasChanged }]);
  });

  it('is comparable only with the same tools', () => {
    const tools = { rustc: '1', valgrind: '2', libc: '3', vectors: 'avx2' };
    expect(differences(tools, tools)).toEqual([]);
    expect(differences(tools, { ...tools, libc: '4' })).toEqual(["libc is 4, the baseline's 3"]);
  });
});
