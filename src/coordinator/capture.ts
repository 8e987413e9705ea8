/**
 * The capture of a machine with external disks: steps 1, 5, 6 and 7 of the commit protocol (DESIGN section 3).
 *
 *   1  catalog: point `creating`, with the disks as they are configured now
 *   5  engine: scan of all disks that are not excluded, as one; everything durable but the manifest
 *   6  engine: manifest published                                              <- the point exists from here on
 *   7  catalog: point `copied`, with sizes and counts; the caller is answered
 *
 * Whatever fails before step 6 leaves nothing but chunks for the collector: the scan is abandoned and the record goes.
 * That, and step 7, may use the store's reserve of space: on a disk that is full meanwhile an answer must still be right.
 * When that cannot be done either (a fenced store), the record stays `creating` and the next open removes it. When the
 * publishing itself fails, the manifest is removed before the record. When step 7 finds the disk full, so it is too: a
 * capture that rejects for want of space leaves no point. Only where step 7 fails otherwise, which fences the store, the
 * point is whole and the next open makes it `copied`.
 */

import type { Catalog } from '../catalog/catalog.js';
import { encodeDetail } from '../catalog/detail.js';
import type { Captured, PointDisk, PointRecord } from '../catalog/record.js';
import type { CatalogView } from '../catalog/view.js';
import type { Control, Engine, Scan, ScanDiskRequest, ScannedDisk } from '../native/engine.js';
import { isStillpointError, StillpointError } from '../store/errors.js';
import { beginCapture, forget, type Begun, type CaptureMakings, type CapturePlan } from './begin-capture.js';
import { cancelled } from './gate.js';
import { parentsOf } from './parents.js';
import { moved } from './state.js';

/** Captures a machine. The caller has made sure that no other capture of this machine runs. */
export async function capture(
  engine: Engine,
  catalog: Catalog,
  plan: CapturePlan,
  makings: CaptureMakings,
  control: Control,
): Promise<PointRecord> {
  const begun = await catalog.transact((view) => beginCapture(view, plan, makings));
  const scan = await scanOrForget(engine, catalog, begun, plan.frozen, control);
  const captured = capturedBy(scan.disks, scan.startedMs, scan.endedMs);
  const point: PointRecord = { ...begun.point, disks: withSizes(begun.point.disks, scan.disks), captured };
  await publishOrForget(engine, catalog, begun, point, captured, scan, control.signal);
  return recordOrUndo(engine, catalog, begun, moved(point, 'copied'));
}

/** The disks of a point with the sizes that the engine found. */
export function withSizes(
  disks: readonly PointDisk[],
  found: readonly { readonly diskId: string; readonly sizeBytes: number }[],
): readonly PointDisk[] {
  const sizes = new Map<string, number>(found.map(({ diskId, sizeBytes }) => [diskId, sizeBytes]));
  return disks.map((disk) => (disk.excluded ? disk : { ...disk, sizeBytes: sizes.get(disk.id) ?? 0 }));
}

/** The sums of what the engine says of each disk. */
export function capturedBy(disks: readonly ScannedDisk[], startedMs: number, endedMs: number): Captured {
  const sum = (bytes: readonly number[]): number => bytes.reduce((total, each) => total + each, 0);
  return {
    startedMs,
    endedMs,
    bytesRead: sum(disks.map((disk) => disk.bytesRead)),
    bytesNew: sum(disks.map((disk) => disk.bytesNew)),
    bytesStored: sum(disks.map((disk) => disk.bytesStored)),
  };
}

/** Step 5. */
async function scanOrForget(
  engine: Engine,
  catalog: Catalog,
  begun: Begun,
  frozen: boolean,
  control: Control,
): Promise<Scan> {
  try {
    return await scanWithParents(engine, catalog.view, begun, frozen, control);
  } catch (error) {
    await forget(engine, catalog, begun.point);
    throw error;
  }
}

async function scanWithParents(
  engine: Engine,
  view: CatalogView,
  { machine, disks }: Begun,
  frozen: boolean,
  control: Control,
): Promise<Scan> {
  const ids = disks.map((disk) => disk.id);
  for (;;) {
    const parents = parentsOf(view, machine.id, ids);
    const external = disks.flatMap((disk) => (disk.kind === 'external' ? [disk] : []));
    const requests = external.map((disk): ScanDiskRequest => ({
      diskId: disk.id,
      path: disk.source,
      sectorBytes: disk.sectorBytes,
      parentPointId: parents.get(disk.id) ?? null,
      frozen,
    }));
    try {
      return await engine.scan(requests, control);
    } catch (error) {
      // A parent may be deleted between the choice and the scan. It is chosen anew then; each round needs another
      // deletion, so this ends.
      const chosen = parentsOf(view, machine.id, ids);
      const isChanged = ids.some((id) => chosen.get(id) !== parents.get(id));
      if (!(isStillpointError(error, 'POINT_NOT_FOUND') && isChanged)) throw error;
    }
  }
}

/** Step 6. */
async function publishOrForget(
  engine: Engine,
  catalog: Catalog,
  begun: Begun,
  point: PointRecord,
  captured: Captured,
  scan: Scan,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (signal?.aborted === true) {
    await scan.abandon();
    await forget(engine, catalog, begun.point);
    throw cancelled(signal);
  }
  const detail = encodeDetail(begun.machine, begun.collection, point, captured);
  try {
    await scan.publish({ pointId: point.id, createdMs: point.createdMs, detail });
  } catch (error) {
    // Nobody knows whether the manifest is there. Without this removal the record would have to stay.
    const isGone = await engine.removePoint(point.id).then(
      () => true,
      () => false,
    );
    if (isGone) await forget(engine, catalog, begun.point);
    throw error;
  }
}

/**
 * Step 7. Where the catalog met a full disk and takes changes all the same, the record certainly does not say `copied`, so
 * the manifest goes: first, so that the next open removes the record if that cannot be done now. Answering that the point is
 * there was rejected: until the next open no listing of this handle would have it. Where the catalog is fenced nobody knows
 * what it says, so the manifest stays; that is no mere want of space, and the code says so.
 */
async function recordOrUndo(engine: Engine, catalog: Catalog, begun: Begun, copied: PointRecord): Promise<PointRecord> {
  try {
    return await engine.withReserve(() => catalog.transact(() => ({ changes: [{ put: copied }], result: copied })));
  } catch (error) {
    if (!isStillpointError(error, 'NO_SPACE')) throw error;
    const isFenced = await catalog.transact(() => ({ changes: [], result: false })).catch(() => true);
    if (isFenced) {
      const message =
        'the catalog could not be read again on a full disk; the next open tells whether the point exists';
      throw new StillpointError('IO_FAILED', message, { point: copied.name }, error);
    }
    await engine.removePoint(copied.id); // where this fails nobody knows whether the point is there, and its error says so
    await forget(engine, catalog, begun.point);
    throw error;
  }
}
