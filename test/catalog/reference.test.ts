/** What texts name restore points, and what the errors tell about those that do not. */

import { describe, expect, it } from 'vitest';

import { findDisk, findMachine, findPoint } from '../../src/catalog/reference.js';
import { CatalogTable } from '../../src/catalog/view.js';
import { toCollectionId } from '../../src/store/units.js';
import { collection, disk, point, wholeMachine } from './records.js';

const daily = collection(1, { id: toCollectionId('f'.repeat(32)), name: 'Daily' });
const view = new CatalogTable([
  ...wholeMachine(1),
  ...wholeMachine(2),
  daily,
  point(1, 1, 'copied'),
  point(1, 2, 'copied'),
  point(1, 3, 'copied', { collectionId: daily.id, name: 'RP1' }),
  point(1, 4, 'creating'),
  point(1, 5, 'copied', { disks: [{ ...disk(1), sizeBytes: 0, excluded: true }] }),
]);

describe('a reference', () => {
  it.each([
    ['vm1/default/rp1', 1],
    ['VM1/DEFAULT/RP1', 1],
    ['vm1/daily/rp1', 3],
    ['vm1/rp2', 2],
  ])('%s names point %i', (reference, sequence) => {
    expect(findPoint(view, reference).sequence).toBe(sequence);
  });

  it('that is ambiguous lists the candidates', () => {
    expect(() => findPoint(view, 'vm1/rp1')).toThrow(
      expect.objectContaining({
        code: 'NAME_AMBIGUOUS',
        context: { point: 'vm1/rp1', candidates: ['vm1/default/rp1', 'vm1/Daily/RP1'] },
      }),
    );
  });

  it.each([
    ['vm9/rp1', 'MACHINE_NOT_FOUND'],
    ['vm1/weekly/rp1', 'COLLECTION_NOT_FOUND'],
    ['vm1/default/rp9', 'POINT_NOT_FOUND'],
    ['vm1/daily/rp2', 'POINT_NOT_FOUND'],
    ['vm1/rp4', 'POINT_NOT_FOUND'],
    ['vm2/rp1', 'POINT_NOT_FOUND'],
    ['vm1', 'ARGUMENT_INVALID'],
    ['vm1/', 'ARGUMENT_INVALID'],
    ['/rp1', 'ARGUMENT_INVALID'],
    ['vm1//rp1', 'ARGUMENT_INVALID'],
    ['vm1/default/rp1/os', 'ARGUMENT_INVALID'],
  ])('%s is refused with %s', (reference, code) => {
    expect(() => findPoint(view, reference)).toThrow(expect.objectContaining({ code }));
  });

  it('to a machine that is not there lists the machines', () => {
    expect(() => findMachine(view, 'vm3')).toThrow(
      expect.objectContaining({ context: { machine: 'vm3', machines: ['vm1', 'vm2'] } }),
    );
  });
});

describe('a role', () => {
  it('names a disk without regard to case', () => {
    expect(findDisk(view, findPoint(view, 'vm1/rp2'), 'OS').id).toBe(disk(1).id);
  });

  it('that is not there or was excluded is refused, with the roles that were captured', () => {
    expect(() => findDisk(view, findPoint(view, 'vm1/rp2'), 'data')).toThrow(
      expect.objectContaining({
        code: 'DISK_NOT_FOUND',
        context: { point: 'vm1/default/rp2', disk: 'data', roles: ['os'] },
      }),
    );
    expect(() => findDisk(view, findPoint(view, 'vm1/rp5'), 'os')).toThrow(/excluded/);
  });
});
