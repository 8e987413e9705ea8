/**
 * Opens the catalog of a store and brings catalog and manifests in line, by the table in `on-open.ts`.
 *
 * Safe to be stopped anywhere: every action is decided again at the next open from what is there then. A rebuilt
 * catalog gets dump and adopted points in one batch, because with two a crash in between would leave a sound catalog
 * that takes all manifests for nobody's.
 */

import type { Engine, Finding, PendingCut } from '../native/engine.js';
import { toMachineId, toPointId, type PointId, type StoreId } from '../store/units.js';
import { alignedDisks, pointsFromCuts, sequenceOf } from '../catalog/alignment.js';
import type { Catalog } from '../catalog/catalog.js';
import { readOnlyCatalog } from '../catalog/catalog.js';
import { pointOf } from '../catalog/detail.js';
import type { DumpFound } from '../catalog/dump.js';
import { dumpName } from '../catalog/dump.js';
import type { CatalogFiles } from '../catalog/files.js';
import { catalogFinding, fileFinding, lossCode, manifestFile, manifestFinding } from '../catalog/finding.js';
import { openCatalog, readDumpOf, type CatalogStorage, type LostCatalog } from '../catalog/open.js';
import { rebuiltRecords } from '../catalog/rebuild.js';
import { keyOf, type CatalogRecord, type Change, type PointFailure, type PointRecord } from '../catalog/record.js';
import { CatalogTable, type CatalogView } from '../catalog/view.js';
import { dropCutOf } from './delete-point.js';
import { cutAfter, onOpen, type CatalogOrigin, type CutEvidence, type OnOpenAction } from './on-open.js';
import {
  everything,
  settleLive,
  unavailableFindings,
  uncleanFindings,
  unlessLogFailed,
  type Scope,
} from './settle-live.js';
import { checkWay, moved } from './state.js';
import { evidenceOf, survey, type Survey } from './survey.js';
import { unavailableLogs } from './unavailable.js';

/** A catalog that agrees with the manifests and the logs, and what was found on the way. */
export interface Recovered {
  readonly catalog: Catalog;
  readonly findings: readonly Finding[];
  /** Work that takes long and goes on beside the caller's: cuts to be dropped once they are copied to their roots. */
  readonly unfinished: Unfinished;
}

/** What an earlier process left, besides the copies of points that are `cut`. */
export interface Unfinished {
  /** Points whose deletion goes on. */
  readonly deletions: readonly PointId[];
  /** Points that nobody knows, on whose cuts disks stand. */
  readonly drops: readonly PointId[];
  /** Points with a manifest, whose cuts are to be released: folding them may take a while, and wait for older ones. */
  readonly releases: readonly PointId[];
}

/** Opens the catalog of a store that is open for writing. */
export async function recover(engine: Engine, storage: CatalogStorage, storeId: StoreId): Promise<Recovered> {
  const region = await survey(engine);
  const opened = await openCatalog(storage, storeId, (work) => engine.withReserve(work));
  const [catalog, origin, found] =
    opened.kind === 'sound'
      ? [opened.catalog, 'sound' as const, opened.problems.map(catalogFinding)]
      : await rebuild(engine, opened, region);
  try {
    const live = await settleLive(engine, catalog);
    const { findings: settled, unfinished } = await settle(engine, catalog, region, origin);
    const findings = [
      ...found,
      ...region.findings,
      ...uncleanFindings(engine),
      ...unavailableFindings(engine),
      ...live,
      ...settled,
    ];
    return { catalog, findings, unfinished };
  } catch (error) {
    await catalog.close();
    throw error;
  }
}

/**
 * Settles what waited for logs that could not be opened, or took no more writes, and are open now.
 *
 * The caller has the turns of their machines, so nobody captures them meanwhile, and their copies are stopped; `isBusy` says which
 * points somebody deletes, and `known` how much of what opening dropped is known already.
 */
export async function settleReopened(
  engine: Engine,
  catalog: Catalog,
  scope: Scope,
  isBusy: (id: PointId) => boolean,
  known: number,
): Promise<{ findings: readonly Finding[]; unfinished: Unfinished }> {
  const region = await survey(engine);
  const live = await settleLive(engine, catalog, scope);
  const { findings, unfinished } = await settle(engine, catalog, region, 'sound', scope, isBusy);
  return { findings: [...uncleanFindings(engine, known), ...live, ...findings], unfinished };
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
  const catalog = readOnlyCatalog(table);
  return {
    catalog,
    findings: [...findings, ...region.findings],
    unfinished: { deletions: [], drops: [], releases: [] },
  };
}

function dumpedRecords(dump: DumpFound): readonly CatalogRecord[] {
  return 'records' in dump ? dump.records : [];
}

async function rebuild(
  engine: Engine,
  lost: LostCatalog,
  region: Survey,
): Promise<[Catalog, CatalogOrigin, readonly Finding[]]> {
  const dumped = dumpedRecords(lost.dump);
  const stateOf = new Map(
    dumped.flatMap((record) => (record.type === 'point' ? [[record.id, record.state] as const] : [])),
  );
  const adopted = [...region.published.values()].filter(({ id }) => {
    const action = onOpen(stateOf.get(id) ?? null, 'absent', 'present', 'rebuilt');
    return action === 'adopt' || action === 'mark-copied';
  });
  // Disks and cuts go into the same batch: with two, a crash in between would leave a sound catalog that drops the cuts.
  const table = new CatalogTable(rebuiltRecords(adopted, dumped));
  table.apply(alignedDisks(table, engine.liveDisks(), engine.info.createdMs).changes);
  const cuts = engine.pendingCuts().filter(({ pointId }) => {
    return onOpen(table.point(toPointId(pointId))?.state ?? null, 'present', 'absent', 'rebuilt') === 'adopt-cut';
  });
  table.apply(pointsFromCuts(table, cuts));
  const catalog = await lost.rebuild([...table.records()]);
  const isNew = lost.isAbsent && [...table.records()].length === 0;
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

/** Decides about every point, every manifest and every cut in the scope, and does it. */
async function settle(
  engine: Engine,
  catalog: Catalog,
  region: Survey,
  origin: CatalogOrigin,
  scope: Scope = everything,
  isBusy: (id: PointId) => boolean = () => false,
): Promise<{ findings: Finding[]; unfinished: Unfinished }> {
  const { view } = catalog;
  const changes: Change[] = [];
  const findings: Finding[] = [];
  const deletions: PointId[] = [];
  const drops: PointId[] = [];
  const releases: PointId[] = [];
  const afterwards: (() => Promise<void>)[] = [];
  const points = [...view.records()].flatMap((record) => {
    return record.type === 'point' && scope(record.machineId) && !isBusy(record.id) ? [record] : [];
  });
  const pending = engine.pendingCuts().filter(({ machineId, pointId }) => {
    return scope(machineId) && !isBusy(toPointId(pointId));
  });
  const cuts = new Map(pending.map((cut) => [toPointId(cut.pointId), cut]));
  const closed = new Set(unavailableLogs(engine).map(({ logId }) => logId));
  const evidence = ({ id, machineId }: Pick<PointRecord, 'id' | 'machineId'>): CutEvidence => {
    if (cuts.has(id)) return 'present';
    return closed.has(machineId) ? 'unknown' : 'absent';
  };
  for (const point of points) {
    const action = onOpen(point.state, evidence(point), evidenceOf(region, point.id), origin);
    const cut = cuts.get(point.id);
    // A log that is closed may have a disk that stands on it: the deletion is tried beside everything else, and again.
    if (action === 'finish-delete' && (cut?.pinned === true || closed.size > 0)) {
      deletions.push(point.id);
      continue;
    }
    const { change, finding } = await settlePoint(engine, view.referenceOf(point), point, region, action);
    if (change !== null) changes.push(change);
    if (finding !== null) findings.push(finding);
    const after = cutAfter(point.state, action);
    if (cut === undefined || after === 'keep') continue;
    if (after === 'release') releases.push(point.id);
    else if (cut.pinned) drops.push(point.id);
    else afterwards.push(() => engine.dropCut(point.id));
  }
  const { lost, unanswered } = withoutRecord(view, pending);
  const made = pointsFromCuts(view, [...lost, ...unanswered], (cut) => (unanswered.has(cut) ? interrupted : null));
  changes.push(...made, ...knownSequences(engine, view, scope, made));
  for (const { put } of made) {
    if (put.type !== 'point') continue;
    const machine = view.machine(put.machineId)?.name ?? put.machineId;
    const reference = `${machine}/${cuts.get(put.id)?.collection ?? put.collectionId}/${put.name}`;
    findings.push(put.failure === null ? foundFinding(reference, put) : interruptedFinding(reference, put));
  }
  for (const [id, cut] of cuts) {
    if (view.point(id) !== undefined || lost.has(cut)) continue;
    if (cut.pinned) drops.push(id);
    else afterwards.push(() => engine.dropCut(id));
  }
  for (const [id, { detail }] of region.published) {
    const machineId = detail.machine.id;
    if (view.point(id) !== undefined || !scope(machineId) || isBusy(id)) continue;
    if (onOpen(null, evidence({ id, machineId }), 'present', origin) !== 'quarantine') continue;
    await engine.quarantinePoint(id);
    const message = 'no machine has this restore point and nobody was told of it; its manifest was put into quarantine';
    findings.push(fileFinding('MANIFEST_UNKNOWN', manifestFile(id), message));
  }
  await catalog.transact(() => ({ changes, result: null }));
  // The records first: what these stop at, the next open decides again from them.
  for (const work of afterwards) findings.push(...(await unlessLogFailed(work)));
  return { findings, unfinished: { deletions, drops, releases } };
}

/**
 * The cuts whose points have no record and should have one: those that the catalog has lost, and those of captures that
 * were interrupted before their record was durable, of which nobody was told. Any other was deleted, or its capture failed.
 */
function withoutRecord(
  view: CatalogView,
  pending: readonly PendingCut[],
): { lost: ReadonlySet<PendingCut>; unanswered: ReadonlySet<PendingCut> } {
  const lost = new Set<PendingCut>();
  const unanswered = new Set<PendingCut>();
  for (const cut of pending) {
    const machineId = toMachineId(cut.machineId);
    if (view.point(toPointId(cut.pointId)) !== undefined) continue;
    if (sequenceOf(cut) > view.reservedSequence(machineId)) lost.add(cut);
    else if (sequenceOf(cut) > view.lastSequence(machineId)) unanswered.add(cut);
  }
  return { lost, unanswered };
}

/** Notes of the machines whose logs are open that all their cuts are known from now on, but for those in `made`. */
function knownSequences(
  engine: Engine,
  view: CatalogView,
  scope: Scope,
  made: readonly { readonly put: CatalogRecord }[],
): readonly Change[] {
  const noted = new Set(made.flatMap(({ put }) => (put.type === 'sequence' ? [put.machineId] : [])));
  const open = new Set(engine.liveDisks().flatMap(({ machineId }) => (machineId === null ? [] : [machineId])));
  return [...open].flatMap((id) => {
    const machineId = toMachineId(id);
    const last = view.lastSequence(machineId);
    if (!scope(id) || noted.has(machineId) || view.reservedSequence(machineId) >= last) return [];
    return [{ put: { type: 'sequence', machineId, last } }];
  });
}

/** Why a point is failed whose capture was not answered. */
const interrupted: PointFailure = {
  code: 'WORK_INTERRUPTED',
  message: 'the capture was interrupted before it was answered',
};

function foundFinding(reference: string, { machineId }: PointRecord): Finding {
  const message = `the catalog had lost ${reference}; the write log has it, so it is there again, crash-consistent`;
  return fileFinding('CATALOG_DAMAGED', `live/${machineId}`, message);
}

function interruptedFinding(reference: string, point: PointRecord): Finding {
  const message = `the capture of ${reference} was interrupted before it was answered; the point is failed`;
  return manifestFinding('WORK_INTERRUPTED', point, message, false);
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
  action: OnOpenAction,
): Promise<Settled> {
  switch (action) {
    case 'keep':
    case 'resume':
      return { change: null, finding: null };
    case 'copy-again': {
      const message = `the manifest of ${reference} is gone; the write log still has the point, so it is copied again`;
      return {
        change: { put: moved(point, 'cut') },
        finding: manifestFinding('WORK_INTERRUPTED', point, message, false),
      };
    }
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
    case 'mark-interrupted':
      return {
        change: { put: moved(point, 'failed', interrupted) },
        finding: interruptedFinding(reference, point),
      };
    case 'mark-lost':
      return markFailed(point, 'RESTORE_POINT_LOST', `the manifest of ${reference} is gone`);
    case 'mark-damaged':
      return markFailed(point, 'MANIFEST_DAMAGED', `the manifest of ${reference} is damaged`);
    case 'finish-delete': {
      // First the manifest, durably, then the record: the other way round a crash would leave nobody's manifest.
      await engine.removePoint(point.id);
      await dropCutOf(engine, point.id);
      checkWay(point, 'none');
      const message = `the deletion of ${reference} was interrupted; it was finished`;
      return { change: { remove: keyOf(point) }, finding: manifestFinding('WORK_INTERRUPTED', point, message, false) };
    }
    case 'quarantine':
    case 'adopt':
    case 'adopt-cut':
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
