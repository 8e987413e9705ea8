/**
 * The main job on real input: two disks of a machine at three moments, captured, compared, given back.
 *
 *     npm run quickstart                      makes its own disks from real files
 *     npm run quickstart -- A.raw B.raw ...   uses your images, which it only reads
 *     npm run quickstart -- --keep            leaves the working directory, to look around in
 *
 * Everything happens in a directory of its own below the system's temporary one.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { createStore, openStore } from 'stillpoint';

import { ownDisks, userDisks } from './quickstart/disks.mjs';
import { hashFile } from './quickstart/hash.mjs';
import { bytes, pointTable, restoreTable, seconds } from './quickstart/report.mjs';

const args = process.argv.slice(2);
const keep = args.includes('--keep');
const images = args.filter((arg) => !arg.startsWith('--'));
const place = await mkdtemp(path.join(tmpdir(), 'stillpoint-quickstart-'));

try {
  await run();
} catch (error) {
  console.error(`error: ${error.message}${error.code === undefined ? '' : ` (${error.code})`}`);
  if (error.action !== undefined) console.error(`  ${error.action}`);
  process.exitCode = 1;
} finally {
  if (keep) console.log(`\nkept in ${place}`);
  else await rm(place, { recursive: true, force: true });
}

async function run() {
  const source = images.length > 0 ? await userDisks(images) : await ownDisks(place);
  const storePath = path.join(place, 'store');
  await createStore({ path: storePath });
  const store = await openStore({ path: storePath });
  try {
    await store.createVirtualMachine({
      name: 'demo',
      disks: source.disks.map(({ role, image }) => ({ role, external: image })),
      configuration: { note: 'made by the quickstart' },
    });

    const captures = [];
    const hashes = new Map(); // of every disk at every moment: what a restore must give back
    for (const moment of source.moments) {
      await moment.make();
      for (const { role, image } of source.disks) hashes.set(`${moment.name}/${role}`, await hashFile(image));
      const startedMs = performance.now();
      const point = await store.capture('demo', { name: moment.name });
      captures.push({ point, what: moment.what, ms: performance.now() - startedMs });
    }
    console.log(`\n${pointTable(captures)}`);

    console.log('\nWhat changed, from each point to the next:');
    const points = await store.restorePoints('demo');
    for (const [index, after] of points.entries()) {
      const before = points[index - 1];
      if (before === undefined) continue;
      for (const { role } of source.disks) await printDiff(store, before, after, role);
    }

    const restores = [];
    for (const point of points) {
      for (const { role } of source.disks) {
        const to = path.join(place, `restored-${point.name}-${role}.raw`);
        const startedMs = performance.now();
        const { sizeBytes, bytesWritten } = await store.restore(point.reference, { disk: role, to, sync: false });
        const ms = performance.now() - startedMs;
        const same = (await hashFile(to)) === hashes.get(`${point.name}/${role}`);
        restores.push({ point, role, sizeBytes, bytesWritten, ms, same });
        await rm(to);
      }
    }
    console.log(`\n${restoreTable(restores)}`);

    const { findings, chunksChecked } = await store.verify({ readData: true });
    const { packBytes } = await store.status();
    console.log(`\nverified ${chunksChecked} chunks: ${findings.length === 0 ? 'sound' : 'DAMAGED'}`);
    console.log(`the store takes ${bytes(packBytes)} for ${points.length} points of ${source.disks.length} disks`);
    if (findings.length > 0 || restores.some(({ same }) => !same)) {
      throw new Error('a restored disk is not what was captured');
    }
  } finally {
    await store.close();
  }
}

async function printDiff(store, before, after, role) {
  const startedMs = performance.now();
  let extentCount = 0;
  let changedBytes = 0;
  for await (const { length } of store.diff(before.reference, after.reference, { disk: role, granularity: 4096 })) {
    extentCount += 1;
    changedBytes += length;
  }
  const ms = performance.now() - startedMs;
  const what = `${extentCount} extents, ${bytes(changedBytes)}`.padEnd(24);
  console.log(
    `  ${`${before.name} -> ${after.name}`.padEnd(22)} ${role.padEnd(6)} ${what} (in blocks of 4096) in ${seconds(ms)}`,
  );
}
