/** Turns records and the engine's reports into what callers see: names instead of ids. */

import type { MachineRecord, PointRecord } from '../catalog/record.js';
import type { CatalogView } from '../catalog/view.js';
import type { Copies } from '../coordinator/copies.js';
import { failedLogOfMachine, failedLogs } from '../coordinator/unavailable.js';
import type { Engine, Finding as EngineFinding, UnavailableLog } from '../native/engine.js';
import type { Unavailable } from './disk-handle.js';
import type { FailedLog } from './events.js';
import type { Finding, RestorePoint, StoreWork, VirtualMachine } from './handles.js';
import { idPattern, toDiskId, toMachineId, toPointId } from './units.js';

/** Why a machine or disk takes no writes for now, or answers nothing; nothing of one that does. */
export function presentUnavailable(log: UnavailableLog | null): { readonly unavailable?: Unavailable } {
  return log === null ? {} : { unavailable: { code: log.code, message: log.message } };
}

/** A machine with its disks. */
export function presentMachine(view: CatalogView, engine: Engine, machine: MachineRecord): VirtualMachine {
  const { id, name, kind, subscription, resourceGroup, configuration, createdMs } = machine;
  const disks = view.disksOf(machine).map((disk) => ({
    id: disk.id,
    role: disk.role,
    name: disk.name,
    kind: disk.kind,
    source: disk.kind === 'external' ? disk.source : '',
    ...(disk.kind === 'managed' ? { sizeBytes: disk.sizeBytes } : {}),
    sectorBytes: disk.sectorBytes,
  }));
  const waiting = presentUnavailable(failedLogOfMachine(engine, id));
  return { id, name, kind, subscription, resourceGroup, configuration, disks, createdMs, ...waiting };
}

/** A restore point; null while it is being made. */
export function presentPoint(view: CatalogView, point: PointRecord, copies: Copies): RestorePoint | null {
  const { state } = point;
  if (state === 'creating') return null;
  const hold = view.hold(point.id);
  const reference = view.referenceOf(point);
  const [machine = '', collection = ''] = reference.split('/');
  const { createdMs } = point;
  return {
    id: point.id,
    name: point.name,
    machine,
    collection,
    reference,
    sequence: point.sequence,
    createdMs,
    state,
    ...(state === 'cut' ? { completionPercent: copies.percentOf(point) } : {}),
    ...(point.lsn === null ? {} : { lsn: point.lsn }),
    ...(hold === undefined ? {} : { hold: { reason: hold.reason, createdMs: hold.createdMs } }),
    ...(point.failure === null ? {} : { failure: point.failure }),
    consistency: point.consistency,
    configuration: point.configuration,
    disks: point.disks.map((disk) => ({ ...disk, source: disk.source ?? '' })),
    captured: point.captured ?? { startedMs: createdMs, endedMs: createdMs, bytesRead: 0, bytesNew: 0, bytesStored: 0 },
  };
}

/** A finding of the engine or of recovery. A point or disk that the catalog does not know keeps its id. */
export function presentFinding(view: CatalogView, finding: EngineFinding): Finding {
  const hits = finding.hits.map(({ pointId, diskId, ranges }) => {
    const point = idPattern.test(pointId) ? view.point(toPointId(pointId)) : undefined;
    return {
      point: point === undefined ? pointId : view.referenceOf(point),
      disk: point?.disks.find((disk) => disk.id === diskId)?.role ?? diskId,
      ranges,
    };
  });
  return { ...finding, hits };
}

/** The work that is in progress. */
export function presentWork(view: CatalogView, copies: Copies): StoreWork[] {
  return view.machines().flatMap((machine) =>
    view.pointsOf(machine.id).flatMap((point) => {
      const { state } = point;
      if (state !== 'creating' && state !== 'cut' && state !== 'deleting') return [];
      const work: StoreWork = { machine: machine.name, point: view.referenceOf(point), state };
      return [state === 'cut' ? { ...work, completionPercent: copies.percentOf(point) } : work];
    }),
  );
}

/** The write logs that wait for `reopenLogs`. */
export function presentFailedLogs(view: CatalogView, engine: Engine): FailedLog[] {
  return failedLogs(engine).map(({ logId, code, message }) => {
    const machine = view.machine(toMachineId(logId))?.name ?? null;
    const disk = machine === null ? (view.disk(toDiskId(logId))?.name ?? null) : null;
    return { logId, machine, disk, code, message };
  });
}
