/** The table of ways between the states of a restore point. */

import { describe, expect, it } from 'vitest';

import { pointStates } from '../../src/catalog/record.js';
import { isWay, moved } from '../../src/coordinator/state.js';
import { point } from '../catalog/records.js';

const ways = [
  'creating cut',
  'creating copied',
  'creating failed',
  'creating none',
  'cut copied',
  'cut deleting',
  'cut failed',
  'copied cut',
  'copied deleting',
  'copied failed',
  'deleting none',
  'failed copied',
  'failed deleting',
];

describe('a restore point', () => {
  it('goes exactly the ways of the table', () => {
    const all = pointStates.flatMap((from) => [...pointStates, 'none' as const].map((to) => [from, to] as const));

    expect(all.filter(([from, to]) => isWay(from, to)).map((way) => way.join(' '))).toEqual(
      expect.arrayContaining(ways),
    );
    expect(all.filter(([from, to]) => isWay(from, to))).toHaveLength(ways.length);
  });

  it('is a defect on any other way', () => {
    expect(() => moved(point(1, 1, 'deleting'), 'copied')).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
  });

  it('has a failure exactly when it failed', () => {
    const failure = { code: 'RESTORE_POINT_LOST', message: 'gone' };

    expect(moved(point(1, 1, 'copied'), 'failed', failure)).toMatchObject({ state: 'failed', failure });
    expect(moved(point(1, 1, 'failed'), 'copied')).toMatchObject({ state: 'copied', failure: null });
    expect(() => moved(point(1, 1, 'copied'), 'failed')).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
    expect(() => moved(point(1, 1, 'copied'), 'deleting', failure)).toThrow(
      expect.objectContaining({ code: 'INTERNAL' }),
    );
  });
});
