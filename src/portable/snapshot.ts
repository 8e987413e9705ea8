/**
 * A store as it stands on disk at one moment: parameters, points, packs.
 *
 * Guarantees: nothing is written, no lock is taken, neither index nor catalog is looked at. Manifests are listed before
 * packs: a point's packs are durable before its manifest is, so each point listed finds its packs even while a writer
 * goes on. (A collector that rewrites packs meanwhile can still take one away; then the store has to be opened again.)
 *
 * Cost: reads all manifests and the trailers of all packs; keeps the points and 20 bytes a slot of the frame table.
 */

import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { NodeReader } from './block-map.js';
import { objectIdFrom } from './brands.js';
import { loadZstdDecoder } from './codec.js';
import { parseConfig, type StoreConfig } from './config.js';
import { ContentStore } from './content.js';
import { messageOf, PortableError, systemErrorCode } from './errors.js';
import { domainHashes, loadChecksum, type Checksum } from './hashes.js';
import { manifestBytesMax, parseManifest } from './manifest.js';
import { PackFiles, readRange } from './pack-files.js';
import { PackLoader, packsFolder } from './pack-loader.js';
import type { StoredPoint } from './point.js';
import { problemOf, type PortableProblem } from './problem.js';

const manifestsFolder = 'home/manifests';
const manifestEnding = '.manifest';
const configBytes = 8192;

export interface Snapshot {
  readonly config: StoreConfig;
  /** In the order of their cuts. */
  readonly points: readonly StoredPoint[];
  readonly content: ContentStore;
  readonly nodes: NodeReader;
  readonly packs: PackLoader;
  /** What was found wrong on the way. */
  readonly problems: readonly PortableProblem[];
  close(): Promise<void>;
}

/** Loads a store. Throws `STORE_NOT_FOUND`, `STORE_DAMAGED` (config only), `STORE_NEWER_FORMAT` (config only), `IO_FAILED`. */
export async function loadSnapshot(storePath: string): Promise<Snapshot> {
  const checksum = await loadChecksum();
  const { config, problems: configProblems } = parseConfig(await readConfig(storePath), checksum);
  const problems = [...configProblems];
  const points = await loadPoints(storePath, config, checksum, problems);
  const packNames = await listFolder(storePath, packsFolder, problems);

  const hashes = new Map<number, Awaited<ReturnType<typeof domainHashes>>>();
  for (const { domain, identityKey } of config.domains) hashes.set(domain, await domainHashes(identityKey));
  const files = new PackFiles(storePath);
  const content = new ContentStore(files, { checksum, decoder: await loadZstdDecoder(), hashes });
  const packs = new PackLoader(storePath, config, files, content, checksum);
  try {
    problems.push(...(await packs.load(packNames)));
  } catch (error) {
    await files.close();
    throw error;
  }
  return { config, points, content, nodes: new NodeReader(content), packs, problems, close: () => files.close() };
}

/** The first bytes of a file, one more than `bytesMax` when it is longer. */
async function readFirst(path: string, bytesMax: number): Promise<Uint8Array> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    return await readRange(handle, 0, Math.min(size, bytesMax + 1));
  } finally {
    await handle.close();
  }
}

async function readConfig(storePath: string): Promise<Uint8Array> {
  try {
    return await readFirst(join(storePath, 'config'), configBytes);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new PortableError(
        'STORE_NOT_FOUND',
        `${storePath} has no config, so it is no store`,
        { path: storePath },
        error,
      );
    }
    throw new PortableError('IO_FAILED', `config of ${storePath} cannot be read`, { path: storePath }, error);
  }
}

/** The finished files of a folder, in the order of their names; none, with a problem, when it cannot be listed. */
async function listFolder(storePath: string, folder: string, problems: PortableProblem[]): Promise<readonly string[]> {
  try {
    const names = await readdir(join(storePath, folder));
    return names.filter((name) => !name.endsWith('.tmp')).sort();
  } catch (error) {
    const code = systemErrorCode(error) === 'ENOENT' ? 'STORE_DAMAGED' : 'IO_FAILED';
    problems.push(problemOf(code, `${folder} cannot be listed: ${messageOf(error)}`, folder, null));
    return [];
  }
}

async function loadPoints(
  storePath: string,
  config: StoreConfig,
  checksum: Checksum,
  problems: PortableProblem[],
): Promise<readonly StoredPoint[]> {
  const points: StoredPoint[] = [];
  for (const name of await listFolder(storePath, manifestsFolder, problems)) {
    const file = `${manifestsFolder}/${name}`;
    const pointId = name.endsWith(manifestEnding) ? objectIdFrom(name.slice(0, -manifestEnding.length)) : null;
    if (pointId === null) {
      problems.push(problemOf('STORE_DAMAGED', `${file} has not the name of a manifest`, file, null));
      continue;
    }
    try {
      const bytes = await readFirst(join(storePath, file), manifestBytesMax);
      points.push(parseManifest(bytes, pointId, file, config, checksum));
    } catch (error) {
      // Gone since the folder was listed: the point was deleted.
      if (systemErrorCode(error) === 'ENOENT') continue;
      const code = error instanceof PortableError ? error.code : 'IO_FAILED';
      problems.push(problemOf(code, messageOf(error), file, null));
    }
  }
  const order = (left: StoredPoint, right: StoredPoint): number =>
    left.listed.createdMs - right.listed.createdMs ||
    left.listed.sequence - right.listed.sequence ||
    (left.id < right.id ? -1 : 1);
  return points.sort(order);
}
