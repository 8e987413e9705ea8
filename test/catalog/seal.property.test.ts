/**
 * Law: a seal that batches keep up to date equals the one counted over the records that are left, in any order.
 *
 * Method: random batches over a small set of keys, against a map.
 */

import fc from 'fast-check';
import { expect, it } from 'vitest';

import { counted, emptySeal, isSameContent, nextSeal } from '../../src/catalog/seal.js';

const sum = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const batch = fc.array(fc.tuple(fc.integer({ min: 0, max: 7 }), fc.option(sum)), { maxLength: 6 });

it('a seal after any batches is the seal of the records that are left, in whatever order they are counted', () => {
  fc.assert(
    fc.property(fc.array(batch), (batches) => {
      const records = new Map<number, bigint>();
      let seal = emptySeal;
      for (const changes of batches) {
        const last = new Map(changes);
        const removed = [...last.keys()].flatMap((key) => records.get(key) ?? []);
        const added = [...last.values()].flatMap((value) => value ?? []);
        seal = nextSeal(seal, removed, added);
        for (const [key, value] of last) {
          if (value === null) records.delete(key);
          else records.set(key, value);
        }
      }

      expect(seal.sequence).toBe(BigInt(batches.length));
      expect(isSameContent(seal, counted([...records.values()].reverse()))).toBe(true);
    }),
  );
});

it('a seal tells a record that is missing, added or another', () => {
  fc.assert(
    fc.property(fc.uniqueArray(sum, { minLength: 1 }), sum, (sums, other) => {
      fc.pre(other !== 0n && !sums.includes(other));
      const whole = counted(sums);

      expect(isSameContent(whole, counted(sums.slice(1)))).toBe(false);
      expect(isSameContent(whole, counted([...sums, other]))).toBe(false);
      expect(isSameContent(whole, counted([other, ...sums.slice(1)]))).toBe(false);
    }),
  );
});
