/** Which catalogs are trusted when a store is opened, and which are not. docs/catalog-format.md, section 6. */

import { beforeEach, describe, expect, it } from 'vitest';

import type { Catalog } from '../../src/catalog/catalog.js';
import { loadChecksum } from '../../src/catalog/checksum.js';
import { openCatalog, type LostCatalog, type SoundCatalog } from '../../src/catalog/open.js';
import { keyOf, type CatalogRecord } from '../../src/catalog/record.js';
import { encodeMeta, encodeRecord } from '../../src/catalog/record-codec.js';
import { counted } from '../../src/catalog/seal.js';
import { encodeSlot } from '../../src/catalog/slots.js';
import { StillpointError } from '../../src/store/errors.js';
import { asText, machine, point, storeId, wholeMachine } from './records.js';
import { SimulatedStorage } from './simulated-storage.js';

let storage: SimulatedStorage;

async function open(): Promise<SoundCatalog | LostCatalog> {
  return openCatalog(storage, storeId);
}

async function openSound(): Promise<SoundCatalog> {
  const opened = await open();
  if (opened.kind === 'lost') throw new Error(`the catalog is lost: ${opened.reason}`);
  return opened;
}

async function openLost(): Promise<LostCatalog> {
  const opened = await open();
  if (opened.kind === 'sound') throw new Error('the catalog is sound');
  return opened;
}

function put(catalog: Catalog, ...records: CatalogRecord[]): Promise<null> {
  return catalog.transact(() => ({ changes: records.map((record) => ({ put: record })), result: null }));
}

/** A catalog with two machines and a point, in three batches; closed. */
async function make(): Promise<void> {
  storage = new SimulatedStorage();
  const lost = await openLost();
  const catalog = await lost.rebuild([]);
  await put(catalog, ...wholeMachine(1));
  await put(catalog, ...wholeMachine(2));
  await put(catalog, point(1, 1, 'copied'));
  await catalog.close();
}

const written = [...wholeMachine(1), ...wholeMachine(2), point(1, 1, 'copied')];

beforeEach(make);

describe('a catalog is sound', () => {
  it('when nothing happened to it', async () => {
    const { catalog, problems } = await openSound();

    expect(problems).toEqual([]);
    expect(asText(catalog.view.records())).toEqual(asText(written));
    expect(await catalog.check()).toEqual([]);
  });

  it.each([1, 2])('when its database is %s batches ahead of the slots', async (count) => {
    const before = storage.snapshot();
    const { catalog } = await openSound();
    if (count === 2) await put(catalog, machine(1)); // as it is
    await put(catalog, ...wholeMachine(3));
    const records = new Map(storage.records);
    before();
    for (const [key, value] of records) storage.records.set(key, value);

    const { catalog: again, problems } = await openSound();

    expect(problems).toEqual([]);
    expect(asText(again.view.records())).toEqual(asText([...written, ...wholeMachine(3)]));
    await put(again, machine(3, { configuration: 'changed' }));
    await again.close();
    expect((await openSound()).catalog.view.machineNamed('vm3')?.configuration).toBe('changed');
  });

  it.each(['catalog.slot-a', 'catalog.slot-b'])('when %s alone is damaged or gone, and says so', async (file) => {
    const before = storage.snapshot();
    storage.bytesOf(file).fill(0xff, 40, 41);
    const damaged = await openSound();
    before();
    storage.removeFile(file);
    const gone = await openSound();

    for (const { catalog, problems } of [damaged, gone]) {
      expect(problems.map((problem) => problem.file)).toEqual([file]);
      expect(asText(catalog.view.records())).toEqual(asText(written));
    }
    await gone.catalog.close();
    expect((await openSound()).problems).toEqual([]);
  });

  it('when the dump is damaged, gone or old; the dump is then written again', async () => {
    const before = storage.snapshot();
    const dump = storage.bytesOf('catalog.dump').slice();
    storage.bytesOf('catalog.dump').fill(0xff, 60, 61);
    expect((await openSound()).problems.map(({ file }) => file)).toEqual(['catalog.dump']);
    expect(storage.bytesOf('catalog.dump')).toEqual(dump);

    before();
    storage.removeFile('catalog.dump');
    expect((await openSound()).problems.map(({ file }) => file)).toEqual(['catalog.dump']);
    expect(storage.bytesOf('catalog.dump')).toEqual(dump);
  });
});

describe('a catalog is damaged', () => {
  it('when its database lost the newest batch', async () => {
    const { catalog } = await openSound();
    const old = new Map(storage.records);
    await put(catalog, point(1, 2, 'copied'));
    storage.records.clear();
    for (const [key, value] of old) storage.records.set(key, value);

    expect((await openLost()).reason).toContain('batch 4');
  });

  it('when its database is three batches ahead of the slots', async () => {
    const before = storage.snapshot();
    const { catalog } = await openSound();
    await put(catalog, ...wholeMachine(3));
    await put(catalog, ...wholeMachine(4));
    await put(catalog, ...wholeMachine(5));
    const records = new Map(storage.records);
    before();
    for (const [key, value] of records) storage.records.set(key, value);

    expect((await open()).kind).toBe('lost');
  });

  it('when a record, or any record of the database, is missing or of another time', async () => {
    const { catalog } = await openSound();
    const old = new Map(storage.records);
    await put(catalog, machine(1, { configuration: 'new' }), point(2, 1, 'copied'));
    await catalog.close();
    const before = storage.snapshot();
    for (const key of [...storage.records.keys()]) {
      before();
      storage.records.delete(key);
      expect((await open()).kind, `without ${key}`).toBe('lost');
      const older = old.get(key);
      before();
      if (older === undefined || Buffer.compare(older, storage.records.get(key) ?? older) === 0) continue;
      storage.records.set(key, older);
      expect((await open()).kind, `with an old ${key}`).toBe('lost');
    }
  });

  it('when a record has any byte changed', async () => {
    const before = storage.snapshot();
    for (const [key, value] of [...storage.records]) {
      for (let at = 0; at < value.length; at += 7) {
        before();
        storage.records.set(
          key,
          value.map((byte, index) => (index === at ? byte ^ 0x10 : byte)),
        );
        expect((await open()).kind, `${key} at ${at}`).toBe('lost');
      }
    }
  });

  it('when neither slot is valid', async () => {
    storage.bytesOf('catalog.slot-a').fill(1);
    storage.removeFile('catalog.slot-b');

    const lost = await openLost();

    expect(lost.reason).toContain('neither slot');
    expect(lost.isAbsent).toBe(false);
  });

  it('when its database is empty and a slot is there', async () => {
    storage.records.clear();

    expect(await openLost()).toMatchObject({ isAbsent: false, dump: { records: expect.anything() as unknown } });
  });

  it('when records with sound checksums contradict each other', async () => {
    const checksum = await loadChecksum();
    const records = [...wholeMachine(1), ...wholeMachine(2), machine(1, { name: 'VM2' })];
    const encoded = new Map(records.map((record) => [keyOf(record), encodeRecord(checksum, record)]));
    const seal = { sequence: 4n, ...counted([...encoded.values()].map(({ sum }) => sum)) };
    storage.records.clear();
    for (const { key, value } of encoded.values()) storage.records.set(key, value);
    storage.records.set('meta', encodeMeta(checksum, seal));
    storage.bytesOf('catalog.slot-a').set(encodeSlot(checksum, storeId, seal));

    expect((await openLost()).reason).toContain('taken twice');
  });
});

async function openLostAfter(damage: () => void): Promise<LostCatalog> {
  damage();
  return openLost();
}

describe('opening', () => {
  it('takes a failing device or a full disk for what it is, and removes nothing', async () => {
    storage.openFailure = new StillpointError('NO_SPACE', 'No space left on device');
    const count = storage.records.size;

    await expect(open()).rejects.toMatchObject({ code: 'NO_SPACE' });
    expect(storage.records.size).toBe(count);
  });

  it('finds a catalog that never was absent, not damaged', async () => {
    storage = new SimulatedStorage();

    expect(await openLost()).toMatchObject({ isAbsent: true });
  });
});

describe('a rebuilt catalog', () => {
  it('is sound from then on and goes on from the sequence of the slots', async () => {
    const lost = await openLostAfter(() => storage.records.clear());
    const catalog = await lost.rebuild(wholeMachine(1));
    await put(catalog, point(1, 1, 'copied'));
    await catalog.close();

    const { catalog: again, problems } = await openSound();

    expect(problems).toEqual([]);
    expect(asText(again.view.records())).toEqual(asText([...wholeMachine(1), point(1, 1, 'copied')]));
  });
});

describe('an open catalog', () => {
  it('refuses changes that contradict its records, and is as it was', async () => {
    const { catalog } = await openSound();

    await expect(put(catalog, machine(1, { name: 'VM2' }))).rejects.toThrow('taken twice');
    await expect(put(catalog, machine(3))).rejects.toThrow('not there');
    expect(asText(catalog.view.records())).toEqual(asText(written));
    expect(await catalog.check()).toEqual([]);
  });

  it('finds on a check whatever changed under it', async () => {
    const { catalog } = await openSound();
    storage.bytesOf('catalog.slot-a').fill(7);
    storage.bytesOf('catalog.dump').fill(7, 60, 61);

    expect((await catalog.check()).map(({ file }) => file)).toEqual(
      expect.arrayContaining(['catalog.slot-a', 'catalog.dump']),
    );
  });

  it('makes changes one after the other, so that each sees what those before it did', async () => {
    const { catalog } = await openSound();
    const seen: number[] = [];
    const count = 20;
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        catalog.transact((view) => {
          seen.push(view.machines().length);
          return { changes: wholeMachine(10 + index).map((record) => ({ put: record })), result: null };
        }),
      ),
    );

    expect(seen).toEqual(Array.from({ length: count }, (_, index) => index + 2));
  });

  it('shows nothing of a change before it is durable', async () => {
    const steps: (string | undefined)[] = [];
    let look: () => string | undefined = () => undefined;
    storage = new SimulatedStorage((step) => steps.push(`${step} ${look() ?? 'unseen'}`));
    const catalog = await (await openLost()).rebuild([]);
    look = () => catalog.view.machineNamed('vm1')?.name;
    steps.length = 0;

    await put(catalog, ...wholeMachine(1));

    expect(steps.length).toBeGreaterThan(8);
    expect(steps.filter((step) => step?.endsWith('unseen') !== true)).toEqual([]);
    expect(look()).toBe('vm1');
  });

  it('is fenced after a failed batch, goes on answering, and is whole when opened again', async () => {
    let isBroken = false;
    storage = new SimulatedStorage((step) => {
      if (isBroken && step === 'batch begins') throw new StillpointError('IO_FAILED', 'the device failed');
    });
    const catalog = await (await openLost()).rebuild(wholeMachine(1));
    isBroken = true;

    await expect(put(catalog, ...wholeMachine(2))).rejects.toMatchObject({ code: 'IO_FAILED' });
    isBroken = false;
    await expect(put(catalog, ...wholeMachine(2))).rejects.toMatchObject({ code: 'STORE_FENCED' });
    expect(catalog.view.machines().map(({ name }) => name)).toEqual(['vm1']);
    expect(asText((await openSound()).catalog.view.records())).toEqual(asText(wholeMachine(1)));
  });

  it('refuses a change whose dump does not fit on the disk, and goes on', async () => {
    let isFull = false;
    storage = new SimulatedStorage((step) => {
      if (isFull && step === 'write catalog.dump.tmp') throw new StillpointError('NO_SPACE', 'the disk is full');
    });
    const catalog = await (await openLost()).rebuild(wholeMachine(1));
    isFull = true;

    await expect(put(catalog, ...wholeMachine(2))).rejects.toMatchObject({ code: 'NO_SPACE' });
    isFull = false;
    expect(storage.fileNames()).toEqual(['catalog.dump', 'catalog.slot-a', 'catalog.slot-b']);
    await put(catalog, ...wholeMachine(2));
    expect(catalog.view.machines()).toHaveLength(2);
  });
});

describe('a batch that nobody is told of by itself', () => {
  it('leaves its seal to the next one, but not twice in a row', async () => {
    const steps: string[] = [];
    storage = storage.copy((step) => steps.push(step));
    const { catalog } = await openSound();
    const slotsOf = async (isInterim: boolean): Promise<number> => {
      steps.length = 0;
      const changes = [{ put: machine(1, { configuration: steps.length }) }];
      await catalog.transact(() => ({ changes, result: null, isInterim }));
      expect(await catalog.check()).toEqual([]);
      return steps.filter((step) => step.startsWith('sync catalog.slot')).length;
    };

    expect([await slotsOf(true), await slotsOf(true), await slotsOf(true), await slotsOf(false)]).toEqual([0, 1, 0, 1]);

    expect([await slotsOf(true), await slotsOf(false), await slotsOf(false)]).toEqual([0, 1, 1]);
  });
});
