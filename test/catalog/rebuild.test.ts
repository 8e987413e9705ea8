/** What a rebuild makes of manifests and the dump. */

import { describe, expect, it } from 'vitest';

import { decodeManifest, encodeDetail, type PublishedPoint } from '../../src/catalog/detail.js';
import { rebuiltRecords } from '../../src/catalog/rebuild.js';
import type { CollectionRecord, MachineRecord, PointRecord } from '../../src/catalog/record.js';
import { CatalogTable } from '../../src/catalog/view.js';
import { collection, disk, machine, point, wholeMachine } from './records.js';

const captured = { startedMs: 1, endedMs: 2, bytesRead: 3, bytesNew: 4, bytesStored: 5 };

/** A point as its manifest has it. */
function published(
  record: PointRecord,
  of: MachineRecord = machine(1),
  within: CollectionRecord = collection(1),
): PublishedPoint {
  const detail = encodeDetail(of, within, record, captured);
  return decodeManifest({ pointId: record.id, createdMs: record.createdMs, disks: [], detail });
}

const rebuilt = (...args: Parameters<typeof rebuiltRecords>): CatalogTable => new CatalogTable(rebuiltRecords(...args));

describe('a rebuild', () => {
  it('makes machine, disks, collection and points from manifests alone', () => {
    const view = rebuilt([published(point(1, 1, 'copied')), published(point(1, 2, 'copied'))], []);

    expect(view.machineNamed('vm1')).toMatchObject({
      id: machine(1).id,
      diskIds: [disk(1).id],
      configuration: { number: 1 },
    });
    expect(view.diskNamed('vm1-os')).toMatchObject({ source: disk(1).source, role: 'os' });
    expect(view.pointsOf(machine(1).id).map((each) => view.referenceOf(each))).toEqual([
      'vm1/default/rp1',
      'vm1/default/rp2',
    ]);
    expect(view.point(point(1, 1, 'copied').id)).toMatchObject({ state: 'copied', failure: null, captured });
    expect(view.lastSequence(machine(1).id)).toBe(2);
  });

  it('takes a machine as its newest point had it, in whatever order the manifests come', () => {
    const older = published(point(1, 1, 'copied', { configuration: 'older' }));
    const newer = published(point(1, 2, 'copied', { configuration: 'newer' }));

    for (const order of [
      [older, newer],
      [newer, older],
    ]) {
      expect(rebuilt(order, []).machineNamed('vm1')?.configuration).toBe('newer');
    }
  });

  it('takes a machine as the dump has it when there is a dump, also one without points', () => {
    const dumped = [machine(1, { configuration: 'dumped' }), disk(1), collection(1), ...wholeMachine(2)];

    const view = rebuilt([published(point(1, 1, 'copied'))], dumped);

    expect(view.machines().map(({ name }) => name)).toEqual(['vm1', 'vm2']);
    expect(view.machineNamed('vm1')?.configuration).toBe('dumped');
  });

  it('keeps a failed point of the dump, unless its manifest is back', () => {
    const dumped = [...wholeMachine(1), point(1, 1, 'failed'), point(1, 2, 'failed')];

    const view = rebuilt([published(point(1, 2, 'copied'))], dumped);

    expect(view.pointsOf(machine(1).id).map(({ name, state }) => [name, state])).toEqual([
      ['rp1', 'failed'],
      ['rp2', 'copied'],
    ]);
  });

  it('gives the later of two things with one name a number', () => {
    const other = machine(2, { name: 'VM1' });
    const otherCollection = collection(2);
    const dumped = [...wholeMachine(1)];
    const second = point(2, 1, 'copied');
    const namesake = point(1, 2, 'copied', { name: 'RP1' });

    const view = rebuilt(
      [published(point(1, 1, 'copied')), published(namesake), published(second, other, otherCollection)],
      dumped,
    );

    expect(view.machines().map(({ name }) => name)).toEqual(['vm1', 'VM1-2']);
    expect(view.pointsOf(machine(1).id).map(({ name }) => name)).toEqual(['rp1', 'RP1-2']);
  });

  it('gives back what was there: dump and manifests of sound records make the same records', () => {
    const records = [
      ...wholeMachine(1),
      point(1, 1, 'copied', { captured }),
      ...wholeMachine(2),
      point(2, 1, 'failed'),
    ];
    const dumped = records.filter((record) => record.type !== 'point' || record.state === 'failed');

    const view = rebuilt([published(point(1, 1, 'copied'))], dumped);

    const withoutSequences = [...view.records()].filter((record) => record.type !== 'sequence');
    expect(withoutSequences).toEqual(expect.arrayContaining(records));
    expect(withoutSequences).toHaveLength(records.length);
  });
});

describe('the detail of a manifest', () => {
  it('is read with members that this version does not know', () => {
    const detail: unknown = JSON.parse(encodeDetail(machine(1), collection(1), point(1, 1, 'copied'), captured));
    const more = JSON.stringify({ ...(typeof detail === 'object' ? detail : {}), later: { anything: 1 } });

    expect(
      decodeManifest({ pointId: point(1, 1, 'copied').id, createdMs: 1, disks: [], detail: more }).detail.name,
    ).toBe('rp1');
  });

  it.each(['', '[]', '{}', '{"name":1}'])('is refused when it is %j', (detail) => {
    const manifest = { pointId: point(1, 1, 'copied').id, createdMs: 1, disks: [], detail };

    expect(() => decodeManifest(manifest)).toThrow(expect.objectContaining({ code: 'MANIFEST_DAMAGED' }));
  });
});
