/** The rules of names, by examples at their edges. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { checkName, freeName, isName, isSameName, nameLengthMax } from '../../src/catalog/names.js';

describe('a name', () => {
  it.each(['a', 'A1', '0', 'web1', 'a_b', 'a.b', 'a-b', 'a..b', '2026-11-23T04-28-14Z', 'x'.repeat(80)])(
    'may be %j',
    (name) => {
      expect(isName(name)).toBe(true);
    },
  );

  it.each(['', '-a', 'a-', '.a', 'a.', '_a', 'a_', 'a/b', 'a b', 'ä', 'a\n', 'a\0', 'ａ', '..', 'x'.repeat(81)])(
    'may not be %j',
    (name) => {
      expect(isName(name)).toBe(false);
      expect(() => checkName('machine', name)).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }));
    },
  );

  it('is compared without case and kept as given', () => {
    expect(isSameName('Web1', 'wEB1')).toBe(true);
    expect(checkName('machine', 'Web1')).toBe('Web1');
  });

  it('that is not taken is kept, and one that is gets the lowest free number', () => {
    const taken = new Set(['rp', 'rp-2', 'rp-4']);

    expect(freeName('other', (name) => taken.has(name))).toBe('other');
    expect(freeName('rp', (name) => taken.has(name))).toBe('rp-3');
  });

  it('stays a name whatever number it gets', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[a-z0-9]([a-z0-9_.-]{0,78}[a-z0-9])?$/),
        fc.integer({ min: 1, max: 30 }),
        (name, count) => {
          const taken = new Set<string>();
          for (let index = 0; index < count; index += 1) taken.add(freeName(name, (each) => taken.has(each)));

          expect(taken.size).toBe(count);
          for (const each of taken) expect(each.length <= nameLengthMax && isName(each)).toBe(true);
        },
      ),
    );
  });
});
