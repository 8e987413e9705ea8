/**
 * Law: a table that LevelDB wrote is whole, and with any byte changed that LevelDB would use it is not.
 *
 * Regression: `classic-level` reads tables without their checksums. A flipped bit in the length of a key ended the
 * process with a failed assertion while the catalog was opened, before any checksum of our own could be looked at.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { damagedTables, keysIn, removeDamagedTables, tablesInForce } from '../../src/catalog/level-tables.js';
import { levelPlace, type RecordLog } from '../../src/catalog/record-log.js';
import { runs } from '../house/size.js';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-tables-'));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const tables = (): string[] => readdirSync(folder).filter((name) => name.endsWith('.ldb'));

async function write(log: RecordLog, from: number, count: number): Promise<void> {
  const value = Buffer.alloc(300, 'value ');
  const batch = Array.from({ length: count }, (_, index) => {
    return { type: 'put', key: `point/${String(from + index).padStart(8, '0')}`, value } as const;
  });
  await log.write(batch);
}

describe('a table that LevelDB wrote', () => {
  it('is whole, over sessions and compactions', async () => {
    for (let session = 0; session < 7; session += 1) {
      const log = await levelPlace(folder).open();
      await write(log, session * 300, 300);
      await log.close();
    }
    const log = await levelPlace(folder).open();

    expect(await log.readAll()).toHaveLength(2100);
    await log.close();
    expect(tables().length).toBeGreaterThan(0);
    const proven = new Map<string, readonly string[]>();
    expect(await damagedTables(folder, proven)).toEqual([]);
    expect(new Set([...proven.values()].flat()).size).toBe(2100);
  });

  it('is not whole with any byte changed but those of the padding of its footer', () => {
    const [name = ''] = tables();
    const table = readFileSync(path.join(folder, name));
    const stride = runs(97, 1);
    const accepted: number[] = [];
    const footer = table.length - 48;
    for (let at = 0; at < table.length; at += at >= footer - 300 ? 1 : stride) {
      const changed = Buffer.from(table);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      if (keysIn(changed) !== null) accepted.push(at);
    }

    // Two places of at most ten bytes each stand at the beginning of the footer; what follows up to the magic is padding.
    expect(accepted.filter((at) => at < footer + 4 || at >= table.length - 8)).toEqual([]);
    expect(accepted.length).toBeLessThan(40);
  });

  it('is not whole when it is cut short', () => {
    const [name = ''] = tables();
    const table = readFileSync(path.join(folder, name));
    for (const length of [0, 1, 47, 48, table.length - 48, table.length - 1]) {
      expect(keysIn(table.subarray(0, length)), `${length} bytes`).toBeNull();
    }
  });
});

describe('a damaged table', () => {
  it('that nobody needs is removed, and the database is as it was', async () => {
    writeFileSync(path.join(folder, '999999.ldb'), 'what a crash left of a compaction');
    const log = await levelPlace(folder).open();

    expect(await log.readAll()).toHaveLength(2100);
    await log.close();
    expect(tables()).not.toContain('999999.ldb');
  });

  it('that an open database reads is found before it is read', async () => {
    const log = await levelPlace(folder).open();
    const [name = ''] = tables();
    const table = readFileSync(path.join(folder, name));
    const changed = Buffer.from(table);
    changed[4] = (changed[4] ?? 0) ^ 0x10;
    writeFileSync(path.join(folder, name), changed);

    await expect(log.readAll()).rejects.toThrow(/fail their checksums/);
    writeFileSync(path.join(folder, name), table);
    await log.close();
  });

  it('that the database needs is removed and named, and the open fails', async () => {
    const [name = ''] = tables();
    const file = path.join(folder, name);
    const table = readFileSync(file);
    table[4] = (table[4] ?? 0) ^ 0x10;
    writeFileSync(file, table);

    await expect(levelPlace(folder).open()).rejects.toThrow(name);
    expect(await removeDamagedTables(folder)).toEqual([]);
  });
});

describe('the tables in force', () => {
  it('are those that LevelDB names', () => {
    const property =
      "--- level 0 ---\n 8:296['meta' @ 14 : 1 .. 'point' @ 13 : 1]\n--- level 1 ---\n 1234567:1['a' @ 1 : 1 .. 'b' @ 2 : 1]\n";

    expect([...tablesInForce(property)]).toEqual(['000008.ldb', '1234567.ldb']);
    expect(tablesInForce('--- level 0 ---\n').size).toBe(0);
  });
});
