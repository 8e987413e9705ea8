/**
 * Law: whatever step the process ends at, and whatever the medium keeps of what was not synced, the catalog that is
 * found afterwards has every acknowledged change, and the one that was running wholly or not at all. It is sound, or it
 * is rebuilt from the dump; the simulated crash alone never makes it lost once it was complete.
 *
 * Method: a fixed history of changes is run once for every step it has and every mode of the medium.
 */

import { describe, expect, it } from 'vitest';

import type { Catalog } from '../../src/catalog/catalog.js';
import { openCatalog } from '../../src/catalog/open.js';
import { rebuiltRecords } from '../../src/catalog/rebuild.js';
import { keyOf, type CatalogRecord, type Change } from '../../src/catalog/record.js';
import { collection, disk, machine, point, storeId, wholeMachine, asText } from './records.js';
import { keptModes, SimulatedStorage, type Kept } from './simulated-storage.js';

class ProcessEnd extends Error {}

function isProcessEnd(error: unknown): boolean {
  return error instanceof ProcessEnd || (error instanceof Error && isProcessEnd(error.cause));
}

/** Ends the process at one step, and keeps it ended. */
class Crasher {
  at: number;
  count = 0;

  constructor(at: number) {
    this.at = at;
  }

  readonly step = (): void => {
    this.count += 1;
    if (this.count >= this.at) throw new ProcessEnd();
  };
}

const put = (...records: CatalogRecord[]): Change[] => records.map((record) => ({ put: record }));

/** Changes with and without the dump, replacing, adding and removing. */
const history: readonly (readonly Change[])[] = [
  put(...wholeMachine(1)),
  put(point(1, 1, 'creating')),
  put(point(1, 1, 'copied')),
  put(machine(1, { configuration: { larger: true } })),
  put(...wholeMachine(2)),
  put(point(1, 1, 'failed')),
  [{ remove: keyOf(point(1, 1, 'failed')) }],
  [machine(2), disk(2), collection(2)].map((record) => ({ remove: keyOf(record) })),
];

/** Changes whose seals may be left to the next one's: alone, and two in a row. */
const interim: readonly number[] = [1, 4, 5];

/** The records after each change; the first is before any. */
const states: string[][] = history
  .reduce<Map<string, CatalogRecord>[]>(
    (maps, changes) => {
      const next = new Map<string, CatalogRecord>(maps.at(-1));
      for (const change of changes) {
        if ('put' in change) next.set(keyOf(change.put), change.put);
        else next.delete(change.remove);
      }
      return [...maps, next];
    },
    [new Map<string, CatalogRecord>()],
  )
  .map((map) => asText(map.values()));

/** Opens the catalog, or makes it from the dump as a store without manifests does. */
async function openOrMake(storage: SimulatedStorage): Promise<{ catalog: Catalog; isRebuilt: boolean }> {
  const opened = await openCatalog(storage, storeId);
  if (opened.kind === 'sound') return { catalog: opened.catalog, isRebuilt: false };
  const dumped = 'records' in opened.dump ? opened.dump.records : [];
  return { catalog: await opened.rebuild(rebuiltRecords([], dumped)), isRebuilt: !opened.isAbsent };
}

/** Runs the history until the process ends; how many changes were acknowledged. */
async function run(storage: SimulatedStorage): Promise<number> {
  let acknowledged = 0;
  try {
    const { catalog } = await openOrMake(storage);
    for (const [index, changes] of history.entries()) {
      await catalog.transact(() => ({ changes, result: null, isInterim: interim.includes(index) }));
      acknowledged += 1;
    }
    await catalog.close();
  } catch (error) {
    if (!isProcessEnd(error)) throw error;
  }
  return acknowledged;
}

async function stepsOfHistory(): Promise<number> {
  const crasher = new Crasher(Number.POSITIVE_INFINITY);
  expect(await run(new SimulatedStorage(crasher.step))).toBe(history.length);
  return crasher.count;
}

async function crashAt(
  at: number,
  kept: Kept,
): Promise<{ storage: SimulatedStorage; acknowledged: number; crasher: Crasher }> {
  const crasher = new Crasher(at);
  const storage = new SimulatedStorage(crasher.step);
  const acknowledged = await run(storage);
  crasher.at = Number.POSITIVE_INFINITY;
  storage.restart(kept);
  return { storage, acknowledged, crasher };
}

describe.each(keptModes)('a kill at any step, then a power cut at any step of what follows, %s kept,', (kept) => {
  it('costs no acknowledged change either: nothing is built upon what only the page cache has', async () => {
    const count = await stepsOfHistory();
    for (let killedAt = 1; killedAt <= count; killedAt += 1) {
      const crasher = new Crasher(killedAt);
      const killed = new SimulatedStorage(crasher.step);
      await run(killed);
      killed.kill();
      for (let at = 1; ; at += 1) {
        const second = new Crasher(at);
        const storage = killed.copy(second.step);
        const { before, isAcknowledged, isEnded } = await goOn(storage);
        second.at = Number.POSITIVE_INFINITY;
        storage.restart(kept);

        const { catalog, isRebuilt } = await openOrMake(storage);

        const context = `killed at step ${killedAt}, power cut at step ${at} after it`;
        expect(isRebuilt, context).toBe(false);
        const records = asText(catalog.view.records());
        const after = [...(before ?? []), ...asText(wholeMachine(3))].sort();
        if (isAcknowledged) expect([...records].sort(), context).toEqual(after);
        else if (before !== null) expect([[...before].sort(), after], context).toContainEqual([...records].sort());
        expect(await catalog.check(), context).toEqual([]);
        if (!isEnded) break;
      }
    }
  });
});

/** Opens what a kill has left, and changes it. `before` are the records that were found. */
async function goOn(
  storage: SimulatedStorage,
): Promise<{ before: string[] | null; isAcknowledged: boolean; isEnded: boolean }> {
  let before: string[] | null = null;
  let isAcknowledged = false;
  try {
    const { catalog } = await openOrMake(storage);
    before = asText(catalog.view.records());
    await catalog.transact(() => ({ changes: put(...wholeMachine(3)), result: null }));
    isAcknowledged = true;
    await catalog.close();
  } catch (error) {
    if (!isProcessEnd(error)) throw error;
    return { before, isAcknowledged, isEnded: true };
  }
  return { before, isAcknowledged, isEnded: false };
}

describe.each(keptModes)('a crash at any step of the catalog, %s kept of what was not synced,', (kept) => {
  it('costs no acknowledged change and leaves the running one whole or undone', async () => {
    const count = await stepsOfHistory();
    for (let at = 1; at <= count; at += 1) {
      const { storage, acknowledged } = await crashAt(at, kept);

      const { catalog, isRebuilt } = await openOrMake(storage);

      expect(isRebuilt, `rebuilt after step ${at}`).toBe(false);
      expect([states[acknowledged], states[acknowledged + 1]], `after step ${at}`).toContainEqual(
        asText(catalog.view.records()),
      );
      expect(await catalog.check(), `after step ${at}`).toEqual([]);
    }
  });

  it('leaves a dump that a rebuild can stand on', async () => {
    const count = await stepsOfHistory();
    for (let at = 1; at <= count; at += 1) {
      const { storage, acknowledged } = await crashAt(at, kept);
      storage.records.clear();

      const { catalog } = await openOrMake(storage);

      // Points that are not failed come from manifests, of which there are none here.
      const kindsOfDump = (records: readonly string[]): string[] =>
        records.filter((record) => !record.includes('"type":"point"') || record.includes('"state":"failed"'));
      const wanted = [states[acknowledged], states[acknowledged + 1]].map((records) => kindsOfDump(records ?? []));
      const found = asText([...catalog.view.records()].filter((record) => record.type !== 'sequence'));
      expect(wanted, `after step ${at}`).toContainEqual(found);
    }
  });

  it('during a rebuild leaves the damaged catalog to be rebuilt again, or the whole new one', async () => {
    const dumped = [...wholeMachine(1), ...wholeMachine(2)];
    const make = async (crasher: Crasher): Promise<SimulatedStorage> => {
      const storage = new SimulatedStorage(crasher.step);
      const { catalog } = await openOrMake(storage);
      await catalog.transact(() => ({ changes: put(...dumped), result: null }));
      await catalog.close();
      storage.records.delete(keyOf(machine(1)));
      crasher.count = 0;
      return storage;
    };
    const probe = new Crasher(Number.POSITIVE_INFINITY);
    await openOrMake(await make(probe));
    for (let at = 1; at <= probe.count; at += 1) {
      const crasher = new Crasher(Number.POSITIVE_INFINITY);
      const storage = await make(crasher);
      crasher.at = at;
      await expect(openOrMake(storage)).rejects.toThrow();
      crasher.at = Number.POSITIVE_INFINITY;
      storage.restart(kept);

      const { catalog } = await openOrMake(storage);

      expect(asText(catalog.view.records()), `after step ${at}`).toEqual(asText(dumped));
      expect(await catalog.check(), `after step ${at}`).toEqual([]);
    }
  });
});
