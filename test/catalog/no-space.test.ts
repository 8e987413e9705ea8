/** Law: a full disk alone does not fence a catalog; a change that met it is rejected and has no effect, or is made. */

import { beforeEach, describe, expect, it } from 'vitest';

import type { Catalog } from '../../src/catalog/catalog.js';
import { openCatalog } from '../../src/catalog/open.js';
import type { RecordLog } from '../../src/catalog/record-log.js';
import { StillpointError } from '../../src/store/errors.js';
import { asText, point, storeId, wholeMachine } from './records.js';
import { SimulatedStorage } from './simulated-storage.js';

/** What becomes of the next batches, one after the other. */
type Fate = 'passes' | 'does not fit' | 'is whole, but its sync does not fit' | 'fails';

let storage: SimulatedStorage;
let fates: Fate[];
let borrowed: number;
let canReopen: boolean;

beforeEach(() => {
  storage = new SimulatedStorage();
  fates = [];
  borrowed = 0;
  canReopen = true;
});

const full = new StillpointError('NO_SPACE', 'the file system is full');

function meeting(log: RecordLog): RecordLog {
  return {
    ...log,
    write: async (batch) => {
      const met = fates.shift() ?? 'passes';
      if (met === 'passes' || met === 'is whole, but its sync does not fit') await log.write(batch);
      if (met === 'fails') throw new StillpointError('IO_FAILED', 'the device failed');
      if (met !== 'passes') throw full;
    },
  };
}

async function open(): Promise<Catalog> {
  const log = {
    open: async () => {
      if (!canReopen) throw full;
      return meeting(await storage.log.open());
    },
    remove: () => storage.log.remove(),
  };
  const opened = await openCatalog({ files: storage.files, log }, storeId, (work) => {
    borrowed += 1;
    return work();
  });
  return opened.kind === 'sound' ? opened.catalog : opened.rebuild([]);
}

function add(catalog: Catalog, ...records: ReturnType<typeof wholeMachine>): Promise<null> {
  return catalog.transact(() => ({ changes: records.map((record) => ({ put: record })), result: null }));
}

describe('a batch that meets a full disk', () => {
  it('is rejected, leaves catalog and dump as they were, and the next one passes', async () => {
    const catalog = await open();
    await add(catalog, ...wholeMachine(1));
    fates = ['does not fit', 'does not fit'];

    await expect(add(catalog, ...wholeMachine(2))).rejects.toBe(full);

    expect(borrowed).toBeGreaterThan(0);
    expect(asText(catalog.view.records())).toEqual(asText(wholeMachine(1)));
    expect(await catalog.check()).toEqual([]);
    await add(catalog, ...wholeMachine(2));
    await add(catalog, point(1, 1, 'copied'));
    expect(await catalog.check()).toEqual([]);
    await catalog.close();
    expect(asText((await open()).view.records())).toEqual(
      asText([...wholeMachine(1), ...wholeMachine(2), point(1, 1, 'copied')]),
    );
  });

  it('once is tried again, since a compaction may have met it', async () => {
    const catalog = await open();
    fates = ['does not fit'];

    await add(catalog, ...wholeMachine(1));

    expect(await catalog.check()).toEqual([]);
    expect(asText(catalog.view.records())).toEqual(asText(wholeMachine(1)));
  });

  it('and is in the database all the same is acknowledged', async () => {
    const catalog = await open();
    fates = ['is whole, but its sync does not fit'];

    await add(catalog, ...wholeMachine(1));

    expect(asText(catalog.view.records())).toEqual(asText(wholeMachine(1)));
    expect(await catalog.check()).toEqual([]);
  });

  it('fences when the database cannot be opened anew', async () => {
    const catalog = await open();
    await add(catalog, ...wholeMachine(1));
    [fates, canReopen] = [['does not fit'], false];

    await expect(add(catalog, ...wholeMachine(2))).rejects.toBe(full);
    await expect(add(catalog, ...wholeMachine(2))).rejects.toMatchObject({ code: 'STORE_FENCED' });

    canReopen = true;
    expect(asText((await open()).view.records())).toEqual(asText(wholeMachine(1)));
  });
});

it('a batch that the device failed fences, and the database is left alone', async () => {
  const catalog = await open();
  fates = ['fails'];

  await expect(add(catalog, ...wholeMachine(1))).rejects.toMatchObject({ code: 'IO_FAILED' });
  await expect(add(catalog, ...wholeMachine(1))).rejects.toMatchObject({ code: 'STORE_FENCED' });
  expect(borrowed).toBe(0);
});
