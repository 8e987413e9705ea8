/**
 * The disks that the quickstart captures: the user's own, or two ext4 file systems made from real files: this
 * checkout and its packages on one, an SQLite database on the other.
 */

import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import sqlite from 'node-sqlite3-wasm';

const run = promisify(execFile);
const checkout = fileURLToPath(new URL('../..', import.meta.url));

/** The user's images, captured as they are: once, and again, to show what an unchanged disk costs. */
export async function userDisks(images) {
  for (const image of images) {
    const found = await stat(image).catch(() => null);
    if (found === null) throw new Error(`${path.resolve(image)} does not exist`);
    if (!found.isFile() && !found.isBlockDevice()) throw new Error(`${image} is no image file or block device`);
  }
  const make = () => Promise.resolve();
  return {
    disks: images.map((image, index) => ({ role: `disk${index}`, image: path.resolve(image) })),
    moments: [
      { name: 'first', what: 'your images', make },
      { name: 'again', what: 'nothing', make: pause },
    ],
  };
}

/** Two disks of our own at three moments: made with mke2fs, then changed in place with debugfs, as a machine would. */
export async function ownDisks(place) {
  await requireMke2fs();
  const tree = path.join(place, 'tree');
  const data = path.join(place, 'data');
  const database = path.join(data, 'orders.db');
  const os = { role: 'os', image: path.join(place, 'os.raw'), tree, size: '1G', uuid: uuid(1) };
  const disk = { role: 'data', image: path.join(place, 'data.raw'), tree: data, size: '256M', uuid: uuid(2) };
  const moments = [
    {
      name: 'monday',
      what: 'files copied, database filled',
      async make() {
        await mkdir(data, { recursive: true });
        await cp(path.join(checkout, 'node_modules'), path.join(tree, 'opt/packages'), { recursive: true });
        await cp(process.execPath, path.join(tree, 'usr/bin/node'));
        fill(database, 200_000);
        for (const made of [os, disk]) await makeExt4(made);
        await pause();
      },
    },
    {
      name: 'tuesday',
      what: 'sources added, 2 % of the rows updated',
      async make() {
        const sources = path.join(checkout, 'src');
        const added = (await readdir(sources, { recursive: true })).filter((file) => file.endsWith('.ts'));
        const writes = added.map((file) => `write ${path.join(sources, file)} ${file.replaceAll('/', '-')}`);
        await change(os.image, ['mkdir opt/stillpoint', 'cd opt/stillpoint', ...writes]);
        update(database, 50);
        await change(disk.image, ['rm orders.db', `write ${database} orders.db`]);
        await pause();
      },
    },
    {
      name: 'wednesday',
      what: 'sources deleted, 1 % of the rows updated',
      async make() {
        const added = (await readdir(path.join(checkout, 'src'), { recursive: true })).filter((file) =>
          file.endsWith('.ts'),
        );
        await change(os.image, ['cd opt/stillpoint', ...added.map((file) => `rm ${file.replaceAll('/', '-')}`)]);
        update(database, 100);
        await change(disk.image, ['rm orders.db', `write ${database} orders.db`]);
        await pause();
      },
    },
  ];
  return { disks: [os, disk], moments };
}

function uuid(number) {
  return `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;
}

function fill(file, rowCount) {
  const database = new sqlite.Database(file);
  database.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, cents INTEGER, note TEXT)');
  database.exec('BEGIN');
  const insert = database.prepare('INSERT INTO orders VALUES (?, ?, ?, ?)');
  for (let id = 1; id <= rowCount; id += 1) {
    insert.run([id, `customer ${(id * 7919) % 10_007}`, (id * 104_729) % 100_000, `order number ${id} of the shop`]);
  }
  insert.finalize();
  database.exec('COMMIT');
  database.close();
}

function update(file, every) {
  const database = new sqlite.Database(file);
  database.exec(`UPDATE orders SET cents = cents + 1, note = note || '.' WHERE id % ${every} = 0`);
  database.close();
}

async function requireMke2fs() {
  try {
    await run('mke2fs', ['-V'], { env: toolEnv });
  } catch {
    throw new Error(
      "mke2fs is not installed: install e2fsprogs, or give your own images: 'npm run quickstart -- A.raw B.raw'",
    );
  }
}

/** mke2fs lies in sbin, which is not on everyone's path. */
const toolEnv = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin` };

/** Changes the files of an ext4 image in place. */
async function change(image, commands) {
  const script = `${image}.debugfs`;
  await writeFile(script, `${commands.join('\n')}\n`);
  await run('debugfs', ['-w', '-f', script, image], { env: toolEnv, maxBuffer: 16 << 20 });
  await rm(script);
}

async function makeExt4({ image, tree, size, uuid: id }) {
  await rm(image, { force: true });
  // A fixed id and hash seed, as one file system has through its life.
  const fixed = ['-U', id, '-E', `hash_seed=${id},lazy_itable_init=1`];
  await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', tree, ...fixed, image, size], { env: toolEnv });
}

/** A source must have been still for 20 ms before it is captured. */
function pause() {
  return new Promise((resolve) => setTimeout(resolve, 50));
}
