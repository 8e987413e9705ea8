/** What is restored is a sound file system with sound files in it, in the eyes of the programs that own the formats. */

import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { RestorePoint } from '../../src/index.js';
import { requireTool } from '../house/tools.js';
import { allocatedBytes, hashOf, run, Stage } from './stage.js';

const mke2fs = requireTool('mke2fs');
const e2fsck = requireTool('e2fsck');
const debugfs = requireTool('debugfs');
const sqlite3 = requireTool('sqlite3');
const areMissing = [mke2fs, e2fsck, debugfs, sqlite3].some(({ isMissing }) => isMissing);

const documents = fileURLToPath(new URL('../../docs', import.meta.url));
const rowCount = 20_000;

const fill = `
  CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT);
  CREATE INDEX notes ON orders (note);
  WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ${rowCount})
  INSERT INTO orders SELECT id, hex(randomblob(20)) FROM n;`;
const change = `UPDATE orders SET note = note || '.' WHERE id % 50 = 0;`;

describe.skipIf(areMissing)(
  'an ext4 image with documents and an SQLite database, captured before and after a change',
  () => {
    let stage: Stage;
    let image: string;
    const points: RestorePoint[] = [];
    const hashes: string[] = [];
    const restored: string[] = [];

    const captureNow = async (name: string): Promise<void> => {
      points.push(await stage.capture('ext4', image, name));
      hashes.push(await hashOf(image));
    };

    beforeAll(async () => {
      stage = await Stage.make();
      image = stage.at('ext4.raw');
      const database = stage.at('orders.db');
      await mkdir(stage.at('tree'));
      await cp(documents, stage.at('tree/docs'), { recursive: true });
      await run(sqlite3, database, fill);
      await cp(database, stage.at('tree/orders.db'));
      await run(mke2fs, '-q', '-F', '-t', 'ext4', '-d', stage.at('tree'), image, '64M');
      await captureNow('before');
      await run(sqlite3, database, change);
      await writeFile(stage.at('commands'), `rm orders.db\nwrite ${database} orders.db\nrm docs/format.md\n`);
      await run(debugfs, '-w', '-f', stage.at('commands'), image);
      await captureNow('after');
      for (const point of points) restored.push(await stage.restored(point));
    });

    afterAll(() => stage.end());

    it('comes back bit for bit at both moments', async () => {
      expect(await Promise.all(restored.map(hashOf))).toEqual(hashes);
      expect(hashes[0]).not.toBe(hashes[1]);
    });

    it('passes e2fsck at both moments', async () => {
      for (const file of restored) expect(await run(e2fsck, '-f', '-n', file)).toMatch(/\d+\/\d+ files/);
    });

    it('has in debugfs the files of its moment, with their bytes', async () => {
      const format = await readFile(`${documents}/format.md`, 'utf8');
      const [before = '', after = ''] = restored;
      expect(await run(debugfs, '-R', 'cat docs/format.md', before)).toContain(format);
      expect(await run(debugfs, '-R', 'ls -p docs', before)).toContain('/format.md/');
      expect(await run(debugfs, '-R', 'ls -p docs', after)).not.toContain('/format.md/');
    });

    it('has a database that SQLite finds sound, with the rows of its moment', async () => {
      const changed: string[] = [];
      for (const [index, file] of restored.entries()) {
        const database = stage.at(`restored-${index}.db`);
        await run(debugfs, '-R', `dump orders.db ${database}`, file);
        expect((await run(sqlite3, database, 'PRAGMA integrity_check')).trim()).toBe('ok');
        expect((await run(sqlite3, database, 'SELECT count(*) FROM orders')).trim()).toBe(String(rowCount));
        changed.push((await run(sqlite3, database, `SELECT count(*) FROM orders WHERE note LIKE '%.'`)).trim());
      }
      expect(changed).toEqual(['0', String(rowCount / 50)]);
    });

    it('takes no more blocks than the image', async () => {
      for (const file of restored) expect(await allocatedBytes(file)).toBeLessThanOrEqual(await allocatedBytes(image));
      expect(await allocatedBytes(image)).toBeLessThan(64 << 20);
    });
  },
);
