/**
 * The detail of a manifest: what it says about its restore point besides sizes and roots. docs/format.md, section 7.
 *
 * A point's record and its manifest's detail say the same; these functions turn one into the other.
 */

import type { Manifest } from '../native/engine.js';
import { StillpointError } from '../store/errors.js';
import { toPointId, type CollectionId, type PointId } from '../store/units.js';
import { deepFreeze } from './json.js';
import type {
  Captured,
  CollectionRecord,
  CutDetail,
  MachineRecord,
  ManifestDetail,
  PointFailure,
  PointRecord,
  PointState,
} from './record.js';
import { checkCutDetail, checkDetail } from './record-schema.js';

/** A published restore point with its detail read. */
export interface PublishedPoint {
  readonly id: PointId;
  readonly detail: ManifestDetail;
}

/** The detail that a capture publishes, as JSON text. */
export function encodeDetail(
  machine: MachineRecord,
  collection: CollectionRecord,
  point: PointRecord,
  captured: Captured,
): string {
  const detail: ManifestDetail = {
    machine: {
      id: machine.id,
      name: machine.name,
      subscription: machine.subscription,
      resourceGroup: machine.resourceGroup,
    },
    collection: { id: collection.id, name: collection.name },
    name: point.name,
    sequence: point.sequence,
    createdMs: point.createdMs,
    consistency: point.consistency,
    configuration: point.configuration,
    disks: point.disks,
    captured,
    lsn: point.lsn,
  };
  // Manifests of external disks are as they were before there were any others.
  return JSON.stringify(point.lsn === null ? { ...detail, lsn: undefined } : detail);
}

/** Reads a manifest's detail. Errors: `MANIFEST_DAMAGED` when a member is missing or of another type. */
export function decodeManifest(manifest: Manifest): PublishedPoint {
  const refuse = (what: string, cause?: unknown): StillpointError =>
    new StillpointError(
      'MANIFEST_DAMAGED',
      `the detail of the manifest of point ${manifest.pointId} is not as the format says: ${what}`,
      { pointId: manifest.pointId },
      cause,
    );
  let value: unknown;
  try {
    value = JSON.parse(manifest.detail);
  } catch (cause) {
    throw refuse('no JSON', cause);
  }
  const checked = checkDetail(value);
  if (!checked.success) throw refuse(checked.reason);
  return { id: toPointId(manifest.pointId), detail: deepFreeze(checked.data) };
}

/** The record of a published point under the names that the catalog knows it by. */
export function pointOf(
  published: PublishedPoint,
  name: string = published.detail.name,
  state: PointState = 'copied',
  failure: PointFailure | null = null,
): PointRecord {
  const { id, detail } = published;
  return {
    type: 'point',
    id,
    machineId: detail.machine.id,
    collectionId: detail.collection.id,
    name,
    sequence: detail.sequence,
    createdMs: detail.createdMs,
    state,
    failure,
    consistency: detail.consistency,
    configuration: detail.configuration,
    disks: detail.disks,
    captured: detail.captured,
    lsn: detail.lsn,
  };
}

/** What the record of a cut in the write log says of its point, as JSON text. */
export function encodeCutDetail(collectionId: CollectionId, point: PointRecord): string {
  const detail: CutDetail = {
    collectionId,
    sequence: point.sequence,
    createdMs: point.createdMs,
    requested: point.consistency.requested,
    excluded: point.disks.filter((disk) => disk.excluded).map((disk) => disk.id),
  };
  return JSON.stringify(detail);
}

/** Reads what a cut's record says; null when it is not of this form, as that of a hidden point is. */
export function decodeCutDetail(detail: string): CutDetail | null {
  let value: unknown;
  try {
    value = JSON.parse(detail);
  } catch {
    return null;
  }
  const checked = checkCutDetail(value);
  return checked.success ? checked.data : null;
}
