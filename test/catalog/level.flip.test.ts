/**
 * Law: with any byte of LevelDB's files changed, or a file cut short or gone, the records that are read are those that
 * were written, or the catalog is found damaged. Never other records.
 *
 * Method: a small catalog in real files, of an older and a newer session, so that there are a table and a log with
 * records; each byte is changed in turn (a quick run takes every few), the store's copy opened and closed.
 */

import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { nodeFiles } from '../../src/catalog/files.js';
import { openCatalog, type CatalogStorage } from '../../src/catalog/open.js';
import { levelPlace } from '../../src/catalog/record-log.js';
import type { CatalogRecord } from '../../src/catalog/record.js';
import { testSeed } from '../house/seed.js';
import { runs } from '../house/size.js';
import { asText, point, storeId, wholeMachine } from './records.js';

let folder: string;
const written: CatalogRecord[] = [
  ...wholeMachine(1),
  ...wholeMachine(2),
  point(1, 1, 'copied'),
  point(1, 2, 'copied'),
  point(2, 1, 'failed'),
];

const at = (name: string): string => path.join(folder, name);

function storageIn(directory: string): CatalogStorage {
  return { files: nodeFiles(directory), log: levelPlace(path.join(directory, 'catalog')) };
}

/** Opens the copy, compares, and closes it; what became of the catalog. */
async function lookAt(directory: string): Promise<'equal' | 'damaged'> {
  const opened = await openCatalog(storageIn(directory), storeId);
  if (opened.kind === 'lost') return 'damaged';
  const records = asText(opened.catalog.view.records());
  await opened.catalog.close();
  expect(records).toEqual(asText(written));
  return 'equal';
}

function freshCopy(): string {
  rmSync(at('copy'), { recursive: true, force: true });
  cpSync(at('store'), at('copy'), { recursive: true });
  return at('copy');
}

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-catalog-'));
  mkdirSync(at('store'));
  const lost = await openCatalog(storageIn(at('store')), storeId);
  if (lost.kind === 'sound') throw new Error('an empty directory has no catalog');
  const first = await lost.rebuild(written.slice(0, 6));
  await first.transact(() => ({ changes: written.slice(6, 7).map((record) => ({ put: record })), result: null }));
  await first.close();
  const again = await openCatalog(storageIn(at('store')), storeId);
  if (again.kind === 'lost') throw new Error(again.reason);
  await again.catalog.transact(() => ({ changes: written.slice(7).map((record) => ({ put: record })), result: null }));
  await again.catalog.close();
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe("LevelDB's files", () => {
  it('give the records back when nothing happened to them', async () => {
    expect(await lookAt(freshCopy())).toBe('equal');
  });

  it('give the same records or a damaged catalog with any byte changed', async () => {
    const stride = runs(13, 1);
    const outcomes = { equal: 0, damaged: 0 };
    for (const file of readdirSync(at('store/catalog'))) {
      const bytes = readFileSync(at(`store/catalog/${file}`));
      for (let offset = testSeed % stride; offset < bytes.length; offset += stride) {
        const copy = freshCopy();
        const changed = Buffer.from(bytes);
        changed[offset] = (changed[offset] ?? 0) ^ (1 << ((offset + testSeed) % 8));
        writeFileSync(path.join(copy, 'catalog', file), changed);
        outcomes[await lookAt(copy)] += 1;
      }
    }
    // Both happen: a flip in LevelDB's own text log changes nothing, one in a record does.
    expect(outcomes.equal).toBeGreaterThan(0);
    expect(outcomes.damaged).toBeGreaterThan(0);
  });

  it('give the same records or a damaged catalog with any file gone or cut short', async () => {
    for (const file of readdirSync(at('store/catalog'))) {
      rmSync(path.join(freshCopy(), 'catalog', file));
      await lookAt(at('copy'));
      const { size } = statSync(at(`store/catalog/${file}`));
      for (const length of [0, Math.floor(size / 2), Math.max(0, size - 1)]) {
        truncateSync(path.join(freshCopy(), 'catalog', file), length);
        await lookAt(at('copy'));
      }
    }
  });

  it('are found damaged when they are of an earlier time', async () => {
    const copy = freshCopy();
    const opened = await openCatalog(storageIn(copy), storeId);
    if (opened.kind === 'lost') throw new Error(opened.reason);
    await opened.catalog.transact(() => ({ changes: [{ put: point(2, 2, 'copied') }], result: null }));
    await opened.catalog.close();
    rmSync(path.join(copy, 'catalog'), { recursive: true });
    cpSync(at('store/catalog'), path.join(copy, 'catalog'), { recursive: true });

    expect(await lookAt(copy)).toBe('damaged');
  });
});
