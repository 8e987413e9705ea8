/** Findings: what an open found and put right, in the form that the engine's have too. */

import type { Finding } from '../native/engine.js';
import type { ErrorCode } from '../store/errors.js';
import type { PointId } from '../store/units.js';
import type { CatalogProblem } from './catalog.js';
import type { PointRecord } from './record.js';
import type { CatalogView } from './view.js';

/** The file of a point's manifest, relative to the store. */
export function manifestFile(pointId: PointId): string {
  return `home/manifests/${pointId}.manifest`;
}

/** A finding about a whole file that hits no point. */
export function fileFinding(code: ErrorCode, file: string, message: string): Finding {
  return { file, offset: null, length: null, code, message, hits: [] };
}

/** A finding about a file of the catalog. */
export function catalogFinding(problem: CatalogProblem): Finding {
  return fileFinding('CATALOG_DAMAGED', problem.file, problem.message);
}

/** A finding about a point's manifest; `isHit` when all of its disks are hit. */
export function manifestFinding(code: ErrorCode, point: PointRecord, message: string, isHit: boolean): Finding {
  const hits = point.disks
    .filter((disk) => !disk.excluded && disk.sizeBytes > 0)
    .map((disk) => ({ pointId: point.id, diskId: disk.id, ranges: [{ offset: 0, length: disk.sizeBytes }] }));
  return { ...fileFinding(code, manifestFile(point.id), message), hits: isHit ? hits : [] };
}

/** What the points that cannot be read are reported as: those that recovery marked as failed. */
export function lostPointFindings(view: CatalogView): Finding[] {
  const points = [...view.records()].flatMap((record) => (record.type === 'point' ? [record] : []));
  return points.flatMap((point) => {
    // Of one that was interrupted nobody was told; it is no loss.
    if (point.state !== 'failed' || point.failure?.code === 'WORK_INTERRUPTED') return [];
    return [manifestFinding(lossCode(point), point, `${view.referenceOf(point)} cannot be read`, true)];
  });
}

/** Why a failed point cannot be read. */
export function lossCode(point: PointRecord): 'MANIFEST_DAMAGED' | 'RESTORE_POINT_LOST' | 'WORK_INTERRUPTED' {
  const code = point.failure?.code;
  return code === 'MANIFEST_DAMAGED' || code === 'WORK_INTERRUPTED' ? code : 'RESTORE_POINT_LOST';
}
