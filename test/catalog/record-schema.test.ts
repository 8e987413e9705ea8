/**
 * A record or detail whose checksum holds is still refused when it is not as the format says: a defect or a forgery.
 *
 * Method: a whole value, then one member at a time missing, of another type, out of range, or unknown.
 */

import { describe, expect, it } from 'vitest';

import { decodeManifest, encodeDetail } from '../../src/catalog/detail.js';
import { DamagedError } from '../../src/catalog/damaged-error.js';
import { keyOf, type CatalogRecord } from '../../src/catalog/record.js';
import { payloadText, recordFrom } from '../../src/catalog/record-codec.js';
import { isStillpointError } from '../../src/store/errors.js';
import { collection, disk, hold, machine, managedDisk, point } from './records.js';

/** A JSON object as it is parsed. */
type Members = Record<string, unknown>;

const parsed = (text: string): Members => JSON.parse(text) as Members;

const records: readonly CatalogRecord[] = [
  machine(1),
  machine(2, { kind: 'managed', state: 'deleting' }),
  disk(1),
  managedDisk(1),
  collection(1),
  point(1, 1, 'copied'),
  point(1, 2, 'failed'),
  point(1, 3, 'cut', { lsn: '4294967297', captured: null }),
  hold(point(1, 1, 'copied')),
  { type: 'sequence', machineId: machine(1).id, last: 3 },
];

function detail(): Members {
  const whole = point(1, 1, 'copied');
  if (whole.captured === null) throw new Error('a copied point has been captured');
  return parsed(encodeDetail(machine(1), collection(1), whole, whole.captured));
}

/** Every path to a member of a value, through objects and arrays; what a configuration holds is anybody's. */
function* memberPaths(value: unknown, path: readonly string[] = []): Generator<readonly string[]> {
  if (typeof value !== 'object' || value === null || path.at(-1) === 'configuration') return;
  for (const [name, member] of Object.entries(value)) {
    const below = [...path, name];
    if (!Array.isArray(value)) yield below;
    yield* memberPaths(member, below);
  }
}

/** The object that a path's last member is in. */
function holder(value: Members, path: readonly string[]): Members {
  // Cast: the path was found in this very value.
  return path.slice(0, -1).reduce((at, name) => at[name] as Members, value);
}

function changed(value: Members, path: readonly string[], change: (holder: Members, name: string) => void): Members {
  const copy = structuredClone(value);
  change(holder(copy, path), path.at(-1) ?? '');
  return copy;
}

/** What no member of any record may be; only a configuration may be anything that JSON can say. */
const foreign: readonly unknown[] = [
  { surprise: 1 },
  [null],
  true,
  -1,
  1.5,
  2 ** 53,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  '',
  'x y',
];

/** Foreign values that a member takes all the same. */
function takes(path: readonly string[], value: unknown): boolean {
  const name = path.at(-1) ?? '';
  if (name === 'configuration') return !Number.isNaN(value) && value !== Number.POSITIVE_INFINITY;
  if (name === 'writers') return JSON.stringify(value) === '[null]';
  if (['subscription', 'source', 'message', 'code', 'reason'].includes(name)) return typeof value === 'string';
  if (name === 'excluded') return value === true;
  return name.endsWith('Ms') && value === -1;
}

function refusedRecord(record: CatalogRecord, payload: Members): boolean {
  try {
    recordFrom(keyOf(record), payload);
    return false;
  } catch (error) {
    if (error instanceof DamagedError) return true;
    throw error;
  }
}

function refusedDetail(value: Members): boolean {
  try {
    decodeManifest({ pointId: point(1, 1, 'copied').id, createdMs: 0, disks: [], detail: JSON.stringify(value) });
    return false;
  } catch (error) {
    if (isStillpointError(error, 'MANIFEST_DAMAGED')) return true;
    throw error;
  }
}

describe.each(records.map((record) => [keyOf(record), record] as const))('the record %s', (_, record) => {
  const whole = parsed(payloadText(record));
  const paths = [...memberPaths(whole)];

  it('is taken whole', () => {
    expect(recordFrom(keyOf(record), whole).record).toEqual(record);
  });

  it('is refused without any of its members', () => {
    const taken = paths.filter((path) => {
      const without = changed(whole, path, (at, name) => Reflect.deleteProperty(at, name));
      return !refusedRecord(record, without);
    });
    // What records have left out since before there were managed disks.
    const excepted: Readonly<Record<string, readonly string[]>> = { machine: ['kind', 'state'], point: ['lsn'] };

    expect(taken.map((path) => path.join('.'))).toEqual(excepted[record.type] ?? []);
  });

  it('is refused with a member of another type or out of range', () => {
    const taken = paths.flatMap((path) =>
      foreign
        .filter((value) => !takes(path, value))
        .filter((value) => {
          const other = changed(whole, path, (at, name) => {
            at[name] = value;
          });
          return !refusedRecord(record, other);
        })
        .map((value) => `${path.join('.')}: ${String(value)}`),
    );

    expect(taken).toEqual([]);
  });

  it.each(['surprise', 'toString', 'constructor', '__proto__', 'type'])(
    'is refused with an unknown member %s',
    (name) => {
      const text = JSON.stringify(whole).replace('{', `{${JSON.stringify(name)}:1,`);

      expect(refusedRecord(record, parsed(text))).toBe(true);
    },
  );

  it('is refused as anything but an object', () => {
    for (const value of [null, [], [whole], 'x', 1, true]) {
      expect(() => recordFrom(keyOf(record), value)).toThrow(DamagedError);
    }
  });
});

describe('the failure of a point', () => {
  it('is refused with an unknown member', () => {
    const failed = point(1, 2, 'failed');
    const payload = { ...parsed(payloadText(failed)), failure: { ...failed.failure, surprise: 1 } };

    expect(refusedRecord(failed, payload)).toBe(true);
  });
});

describe('the detail of a manifest', () => {
  const paths = [...memberPaths(detail())];

  it('is taken whole, and without the members that a later version may add', () => {
    const pointId = point(1, 1, 'copied').id;
    const more = { ...detail(), surprise: 1, machine: { ...(detail()['machine'] as Members), surprise: 1 } };
    const read = (value: Members) =>
      decodeManifest({ pointId, createdMs: 0, disks: [], detail: JSON.stringify(value) }).detail;

    // Left out where disks are external, since before there were managed ones.
    expect(read(detail())).toEqual({ ...detail(), lsn: null });
    expect(read(more)).toEqual({ ...detail(), lsn: null });
    expect(read({ ...detail(), lsn: '7' })).toEqual({ ...detail(), lsn: '7' });
  });

  it('is refused without any of its members', () => {
    const taken = paths.filter((path) => {
      return !refusedDetail(changed(detail(), path, (at, name) => Reflect.deleteProperty(at, name)));
    });

    expect(taken.map((path) => path.join('.'))).toEqual([]);
  });

  it('is refused with a member of another type or out of range', () => {
    const taken = paths.flatMap((path) =>
      foreign
        // JSON can say neither NaN nor infinity.
        .filter((value) => !takes(path, value) && (typeof value !== 'number' || Number.isFinite(value)))
        .filter((value) => {
          const other = changed(detail(), path, (at, name) => {
            at[name] = value;
          });
          return !refusedDetail(other);
        })
        .map((value) => `${path.join('.')}: ${String(value)}`),
    );

    expect(taken).toEqual([]);
  });
});
