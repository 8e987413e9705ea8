/**
 * Opens the catalog of a store and brings catalog and manifests in line, by the table in `on-open.ts`.
 *
 * Safe to be stopped anywhere: every action is decided again at the next open from what is there then. A rebuilt
 * catalog gets dump and adopted points in one batch, because with two a crash in between would leave a sound catalog
 * that takes all manifests for nobody's.
 */

import type { Engine, Finding } from '../native/engine.js';
import type { StoreId } from '../store/units.js';
import type { Catalog } from '../catalog/catalog.js';
import { readOnlyCatalog } from '../catalog/catalog.js';
import { pointOf } from '../catalog/detail.js';
import type { DumpFound } from '../catalog/dump.js';
import { dumpName } from '../catalog/dump.js';
import type { CatalogFiles } from '../catalog/files.js';
import { catalogFinding, fileFinding, lossCode, manifestFile, manifestFinding } from '../catalog/finding.js';
import { openCatalog, readDumpOf, type CatalogStorage, type LostCatalog } from '../catalog/open.js';
import { rebuiltRecords } from '../catalog/rebuild.js';
import { keyOf, type CatalogRecord, type Change, type PointRecord } from '../catalog/record.js';
import { CatalogTable } from '../catalog/view.js';
import { onOpen, type CatalogOrigin } from './on-open.js';
import { checkWay, moved } from './state.js';
import { evidenceOf, survey, type Survey } from './survey.js';

/** A catalog that agrees with the manifests, and what was found on the way. */
export interface Recovered {
  readonly catalog: Catalog;
  readonly findings: readonly Finding[];
}

/** Opens the catalog of a store that is open for writing. */
export async function recover(engine: Engine, storage: CatalogStorage, storeId: StoreId): Promise<Recovered> {
  const region = await survey(engine);
  const opened = await openCatalog(storage, storeId, (work) => engine.withReserve(work));
  const [catalog, origin, found] =
    opened.kind === 'sound'
      ? [opened.catalog, 'sound' as const, opened.problems.map(catalogFinding)]
      : await rebuild(opened, region);
  try {
    const settled = await settle(engine, catalog, region, origin);
    return { catalog, findings: [...found, ...region.findings, ...settled] };
  } catch (error) {
    await catalog.close();
    throw error;
  }
}

/**
 * The catalog of a store that is open for reading only: made from dump and manifests in memory, nothing is written.
 *
 * `catalog/` is not looked at, since another process may be writing there.
 */
export async function look(engine: Engine, files: CatalogFiles, storeId: StoreId): Promise<Recovered> {
  const region = await survey(engine);
  const dump = await readDumpOf(files, storeId);
  const table = new CatalogTable(rebuiltRecords([...region.published.values()], dumpedRecords(dump)));
  const isDamaged = 'problem' in dump && dump.problem === 'not valid';
  const findings = isDamaged
    ? [catalogFinding({ file: dumpName, message: `${dump.reason}; only machines with points are shown` })]
    : [];
  return { catalog: readOnlyCatalog(table), findings: [...findings, ...region.findings] };
}

function dumpedRecords(dump: DumpFound): readonly CatalogRecord[] {
  return 'records' in dump ? dump.records : [];
}

async function rebuild(lost: LostCatalog, region: Survey): Promise<[Catalog, CatalogOrigin, readonly Finding[]]> {
  const dumped = dumpedRecords(lost.dump);
  const stateOf = new Map(
    dumped.flatMap((record) => (record.type === 'point' ? [[record.id, record.state] as const] : [])),
  );
  const adopted = [...region.published.values()].filter(({ id }) => {
    const action = onOpen(stateOf.get(id) ?? null, 'present', 'rebuilt');
    return action === 'adopt' || action === 'mark-copied';
  });
  const catalog = await lost.rebuild(rebuiltRecords(adopted, dumped));
  const isNew = lost.isAbsent && adopted.length === 0 && dumped.length === 0;
  return [
    catalog,
    'rebuilt',
    isNew ? [] : [catalogFinding({ file: 'catalog', message: rebuildMessage(lost, catalog, adopted.length) })],
  ];
}

function rebuildMessage({ reason, dump }: LostCatalog, { view }: Catalog, adoptedCount: number): string {
  const machines = view.machines().map(({ name }) => name);
  const named = machines.length > 10 ? `${machines.slice(0, 10).join(', ')} ...` : machines.join(', ');
  const missed =
    'records' in dump
      ? 'captures and deletions that were running are forgotten'
      : `the dump is ${dump.problem}, so machines and collections without restore points, changes of machines since their newest point, and failed points are missing`;
  return `the catalog was rebuilt: ${reason}. It has ${machines.length} machines (${named}) and ${adoptedCount} restore points adopted from manifests; ${missed}`;
}

/** Decides about every point and every manifest, and does it. */
async function settle(engine: Engine, catalog: Catalog, region: Survey, origin: CatalogOrigin): Promise<Finding[]> {
  const { view } = catalog;
  const changes: Change[] = [];
  const findings: Finding[] = [];
  const points = [...view.records()].flatMap((record) => (record.type === 'point' ? [record] : []));
  for (const point of points) {
    const { change, finding } = await settlePoint(engine, view.referenceOf(point), point, region, origin);
    if (change !== null) changes.push(change);
    if (finding !== null) findings.push(finding);
  }
  for (const id of region.published.keys()) {
    if (view.point(id) !== undefined || onOpen(null, 'present', origin) !== 'quarantine') continue;
    await engine.quarantinePoint(id);
    const message = 'no machine has this restore point and nobody was told of it; its manifest was put into quarantine';
    findings.push(fileFinding('MANIFEST_UNKNOWN', manifestFile(id), message));
  }
  await catalog.transact(() => ({ changes, result: null }));
  return findings;
}

interface Settled {
  readonly change: Change | null;
  readonly finding: Finding | null;
}

async function settlePoint(
  engine: Engine,
  reference: string,
  point: PointRecord,
  region: Survey,
  origin: CatalogOrigin,
): Promise<Settled> {
  const action = onOpen(point.state, evidenceOf(region, point.id), origin);
  switch (action) {
    case 'keep':
      return { change: null, finding: null };
    case 'keep-and-report': {
      const message = `${reference} still cannot be read`;
      return { change: null, finding: manifestFinding(lossCode(point), point, message, true) };
    }
    case 'remove-record': {
      checkWay(point, 'none');
      const message = `the capture of ${reference} was interrupted before it was answered; it was removed`;
      return { change: { remove: keyOf(point) }, finding: manifestFinding('WORK_INTERRUPTED', point, message, false) };
    }
    case 'mark-copied':
      return markCopied(reference, point, region);
    case 'mark-lost':
      return markFailed(point, 'RESTORE_POINT_LOST', `the manifest of ${reference} is gone`);
    case 'mark-damaged':
      return markFailed(point, 'MANIFEST_DAMAGED', `the manifest of ${reference} is damaged`);
    case 'finish-delete': {
      // First the manifest, durably, then the record: the other way round a crash would leave nobody's manifest.
      await engine.removePoint(point.id);
      checkWay(point, 'none');
      const message = `the deletion of ${reference} was interrupted; it was finished`;
      return { change: { remove: keyOf(point) }, finding: manifestFinding('WORK_INTERRUPTED', point, message, false) };
    }
    case 'quarantine':
    case 'adopt':
      throw new Error(`${action} is for manifests without a record`);
  }
}

function markCopied(reference: string, point: PointRecord, region: Survey): Settled {
  const published = region.published.get(point.id);
  if (published === undefined) throw new Error('a point is marked as copied only when its manifest is present');
  checkWay(point, 'copied');
  // What the manifest says counts; the name is the catalog's, which may have had to change it in a rebuild.
  const change = { put: pointOf(published, point.name) };
  if (point.state === 'failed') {
    const message = `the manifest of ${reference} is back; the restore point can be read again`;
    return { change, finding: manifestFinding('RESTORE_POINT_RETURNED', point, message, false) };
  }
  const message = `the capture of ${reference} was interrupted after it was stored whole; it was kept`;
  return { change, finding: manifestFinding('WORK_INTERRUPTED', point, message, false) };
}

function markFailed(point: PointRecord, code: 'RESTORE_POINT_LOST' | 'MANIFEST_DAMAGED', message: string): Settled {
  return {
    change: { put: moved(point, 'failed', { code, message }) },
    finding: manifestFinding(code, point, message, true),
  };
}
