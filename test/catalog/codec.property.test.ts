/**
 * Laws of everything the catalog writes: what is decoded is what was encoded, and no flipped bit is accepted.
 *
 * Method: arbitrary records; every byte of an encoding is changed once.
 */

import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { loadChecksum, type Checksum } from '../../src/catalog/checksum.js';
import { DamagedError } from '../../src/catalog/damaged-error.js';
import { decodeDump, dumpText, encodeDump } from '../../src/catalog/dump.js';
import { isDumped } from '../../src/catalog/record.js';
import { decodeMeta, decodeRecord, encodeMeta, encodeRecord } from '../../src/catalog/record-codec.js';
import { decodeSlot, encodeSlot } from '../../src/catalog/slots.js';
import { StillpointError } from '../../src/store/errors.js';
import { toStoreId } from '../../src/store/units.js';
import { arbitraryRecords, asText, machine, point, storeId } from './records.js';

let checksum: Checksum;

beforeAll(async () => {
  checksum = await loadChecksum();
});

const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const arbitrarySeal = fc.record({ sequence: u64, count: u64, digest: u64 });

/** The bytes with one byte changed, for each byte. */
function* flipped(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1) {
    const copy = bytes.slice();
    copy[at] = (copy[at] ?? 0) ^ (1 << (at % 8));
    yield copy;
  }
}

describe('a record', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(arbitraryRecords, (records) => {
        for (const record of records) {
          const { key, value, sum } = encodeRecord(checksum, record);
          const decoded = decodeRecord(checksum, key, value);

          expect(decoded.sum).toBe(sum);
          expect(asText([decoded.record])).toEqual(asText([record]));
        }
      }),
    );
  });

  it('is refused with any byte changed, cut short, or under another key', () => {
    const { key, value } = encodeRecord(checksum, point(1, 1, 'copied'));
    const other = encodeRecord(checksum, point(1, 2, 'copied'));

    for (const bytes of flipped(value)) expect(() => decodeRecord(checksum, key, bytes)).toThrow(DamagedError);
    for (let length = 0; length < value.length; length += 1) {
      expect(() => decodeRecord(checksum, key, value.subarray(0, length))).toThrow(DamagedError);
    }
    expect(() => decodeRecord(checksum, other.key, value)).toThrow(DamagedError);
    expect(() => decodeRecord(checksum, `${key}0`, value)).toThrow(DamagedError);
  });

  it('is frozen when it was read, down to the last member', () => {
    const { key, value } = encodeRecord(checksum, machine(1, { configuration: { a: { b: [1] } } }));
    const { record } = decodeRecord(checksum, key, value);

    expect(() => Object.assign(record, { name: 'other' })).toThrow(TypeError);
    expect(record.type === 'machine' && Object.isFrozen(record.configuration)).toBe(true);
  });
});

describe('the meta record', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(arbitrarySeal, (seal) => {
        expect(decodeMeta(checksum, encodeMeta(checksum, seal))).toEqual(seal);
      }),
    );
  });

  it('is refused with any byte changed', () => {
    const value = encodeMeta(checksum, { sequence: 1n, count: 2n, digest: 3n });

    for (const bytes of flipped(value)) expect(() => decodeMeta(checksum, bytes)).toThrow(DamagedError);
  });
});

describe('a slot', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(arbitrarySeal, (seal) => {
        expect(decodeSlot(checksum, storeId, encodeSlot(checksum, storeId, seal))).toEqual({ seal });
      }),
    );
  });

  it('is refused with any byte changed, of any other length, or of another store', () => {
    const bytes = encodeSlot(checksum, storeId, { sequence: 1n, count: 2n, digest: 3n });
    const refused = { problem: 'not valid' };

    for (const each of flipped(bytes)) expect(decodeSlot(checksum, storeId, each)).toEqual(refused);
    for (let length = 0; length < bytes.length; length += 1) {
      expect(decodeSlot(checksum, storeId, bytes.subarray(0, length))).toEqual(refused);
    }
    expect(decodeSlot(checksum, storeId, Buffer.concat([bytes, Buffer.from([0])]))).toEqual(refused);
    expect(decodeSlot(checksum, toStoreId('6'.repeat(32)), bytes)).toEqual(refused);
    expect(decodeSlot(checksum, storeId, null)).toEqual({ problem: 'missing' });
  });

  it('of a newer version is told apart from a damaged one', () => {
    const bytes = Buffer.from(encodeSlot(checksum, storeId, { sequence: 1n, count: 2n, digest: 3n }));
    bytes.writeUInt16LE(2, 8);
    bytes.writeBigUInt64LE(checksum(bytes.subarray(0, 56)), 56);

    expect(decodeSlot(checksum, storeId, bytes)).toEqual({ newerVersion: 2 });
  });
});

describe('the dump', () => {
  it('gives back exactly the records that no manifest has', () => {
    fc.assert(
      fc.property(arbitraryRecords, (records) => {
        const bytes = encodeDump(checksum, storeId, dumpText(records));

        expect(asText(decodeDump(checksum, storeId, bytes))).toEqual(asText(records.filter(isDumped)));
      }),
    );
  });

  it('is the same text in whatever order the records come', () => {
    fc.assert(
      fc.property(arbitraryRecords, (records) => {
        expect(dumpText([...records].reverse())).toBe(dumpText(records));
      }),
    );
  });

  it('is refused with any byte changed or cut short', () => {
    const bytes = encodeDump(checksum, storeId, dumpText([machine(1)]));

    for (const each of flipped(bytes)) expect(() => decodeDump(checksum, storeId, each)).toThrow(DamagedError);
    for (let length = 0; length < bytes.length; length += 1) {
      expect(() => decodeDump(checksum, storeId, bytes.subarray(0, length))).toThrow(DamagedError);
    }
  });

  it('of a newer version is told apart from a damaged one', () => {
    const bytes = Buffer.from(encodeDump(checksum, storeId, '[]'));
    bytes.writeUInt16LE(2, 8);
    const end = bytes.length - 8;
    bytes.writeBigUInt64LE(checksum(bytes.subarray(0, end)), end);

    expect(() => decodeDump(checksum, storeId, bytes)).toThrow(StillpointError);
  });
});
