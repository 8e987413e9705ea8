/** Numbers as people type and read them. */

import { describe, expect, test } from 'vitest';
import { parseSize } from '../../src/cli/arguments.js';
import { formatBytes, formatChosenBytes, formatCount, formatDuration, formatRate } from '../../src/cli/render/units.js';

describe('a size is read', () => {
  test.each([
    ['0', 0],
    ['65536', 65_536],
    ['64KiB', 65_536],
    ['64 kib', 65_536],
    ['1.5GiB', 1_610_612_736],
    ['2TiB', 2 * 1024 ** 4],
  ])('%s is %i bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each(['', '-1', '1KB', '1.3', '0x10', '1e3', 'KiB', '9007199254740993', '99999999TiB'])(
    '%j is refused',
    (text) => {
      expect(() => parseSize(text)).toThrow('A size is a number of bytes');
    },
  );
});

describe('a number is printed', () => {
  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [12_897_484, '12.3 MiB'],
    [1_048_575, '1.0 MiB'],
    [1024 ** 4, '1.0 TiB'],
    [3000 * 1024 ** 5, '3000.0 PiB'],
  ])('%i bytes as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test.each([
    [0, '0.0 ms'],
    [9.94, '9.9 ms'],
    [820, '820 ms'],
    [999.6, '1.0 s'],
    [3100, '3.1 s'],
    [59_960, '1 min 00 s'],
    [125_000, '2 min 05 s'],
    [3_725_000, '1 h 02 min'],
    [3_599_900, '1 h 00 min'],
  ])('%f ms as %s', (durationMs, text) => {
    expect(formatDuration(durationMs)).toBe(text);
  });

  test('with separators, units and dashes', () => {
    expect(formatCount(1_234_567)).toBe('1,234,567');
    expect(formatCount(999)).toBe('999');
    expect(formatChosenBytes(65_536)).toBe('64 KiB');
    expect(formatChosenBytes(98_816)).toBe('96.5 KiB');
    expect(formatRate(0)).toBe('-');
    expect(formatRate(Number.NaN)).toBe('-');
  });
});
