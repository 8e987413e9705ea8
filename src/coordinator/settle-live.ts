/**
 * What opening a store does about managed disks and machines: what an earlier process left half made or half removed is
 * undone or finished, and the records are brought in line with the logs.
 *
 * Every step is decided again at the next open from what is there then.
 */

import { alignedDisks } from '../catalog/alignment.js';
import type { Catalog } from '../catalog/catalog.js';
import { fileFinding } from '../catalog/finding.js';
import { keyOf, type Change, type MachineRecord, type ManagedDiskRecord } from '../catalog/record.js';
import type { Engine, Finding } from '../native/engine.js';
import { isStillpointError } from '../store/errors.js';
import { toDiskId } from '../store/units.js';
import { removalOf } from './machines.js';
import { diskWaitsFor, machineWaitsFor, unavailableLogs } from './unavailable.js';

/** Which logs are settled, by their ids: those of machines and of detached disks. */
export type Scope = (logId: string) => boolean;

/** What becomes of a disk that is not ready. */
const undone = {
  creating: 'creating was interrupted; it was undone',
  deleting: 'deleting was interrupted; it was finished',
  scratch: 'it was a scratch copy, whose server was interrupted; it was thrown away',
} as const;

/** All logs. */
export const everything: Scope = () => true;

function isOf(scope: Scope, { id, machineId }: ManagedDiskRecord): boolean {
  return scope(machineId ?? id) || scope(id);
}

/**
 * Settles machines and disks: all of them, or those of the logs that were opened later. What waits for a log that could not
 * be opened stays as it is, and the finding about the log says why.
 */
export async function settleLive(engine: Engine, catalog: Catalog, scope: Scope = everything): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const machine of catalog.view.machines()) {
    if (machine.state === 'ready' || !scope(machine.id) || machineWaitsFor(engine, machine.id) !== null) continue;
    findings.push(...(await unlessLogFailed(() => removeMachine(engine, catalog, machine))));
    const what =
      machine.state === 'creating'
        ? 'creating was interrupted; it was undone'
        : 'deleting was interrupted; it was finished';
    findings.push(fileFinding('WORK_INTERRUPTED', `live/${machine.id}`, `the machine ${machine.name}: ${what}`));
  }
  for (const disk of catalog.view.disks()) {
    if (disk.kind !== 'managed' || disk.state === 'ready' || !isOf(scope, disk)) continue;
    if (diskWaitsFor(engine, disk) !== null) continue;
    findings.push(...(await unlessLogFailed(() => removeDisk(engine, catalog, disk))));
    const message = `the disk ${disk.name}: ${undone[disk.state]}`;
    findings.push(fileFinding('WORK_INTERRUPTED', `live/${disk.id}`, message));
  }
  const live = engine.liveDisks().filter(({ diskId, machineId }) => scope(machineId ?? diskId));
  const { changes, lost, corrected } = alignedDisks(catalog.view, live, engine.info.createdMs);
  await catalog.transact(() => ({ changes, result: null }));
  for (const { diskId, isNew, message } of corrected) {
    findings.push(fileFinding(isNew ? 'CATALOG_DAMAGED' : 'WORK_INTERRUPTED', `live/${diskId}`, message));
  }
  for (const { diskId } of engine.liveDisks()) {
    const record = catalog.view.disk(toDiskId(diskId));
    if (record?.kind === 'managed' && record.limits !== undefined) await engine.limitDisk(diskId, record.limits);
  }
  for (const disk of lost) {
    if (!isOf(scope, disk) || diskWaitsFor(engine, disk) !== null) continue;
    const message = `no write log has the disk ${disk.name}; its live data cannot be read`;
    findings.push(fileFinding('DISK_LOST', `live/${disk.machineId ?? disk.id}`, message));
  }
  return findings;
}

/** Detaches what a machine has, then removes its log and its records. Its disks stay, detached. */
export async function removeMachine(engine: Engine, catalog: Catalog, machine: MachineRecord): Promise<void> {
  for (const { machineId, pointId } of engine.pendingCuts()) {
    if (machineId === machine.id) await engine.dropCut(pointId);
  }
  for (const { diskId, machineId } of engine.liveDisks()) if (machineId === machine.id) await engine.detachDisk(diskId);
  await engine.deleteMachineLog(machine.id);
  await catalog.transact((view) => {
    const generations = new Map<string, number>(engine.liveDisks().map((disk) => [disk.diskId, disk.generation]));
    const detached = view.disksOf(machine).flatMap((disk): Change[] => {
      if (disk.kind !== 'managed') return [];
      return [{ put: { ...disk, machineId: null, generation: generations.get(disk.id) ?? disk.generation } }];
    });
    return { changes: [...removalOf(view, machine), ...detached], result: null };
  });
}

/** Removes a detached disk and its record. */
export async function removeDisk(engine: Engine, catalog: Catalog, disk: ManagedDiskRecord): Promise<void> {
  await engine.deleteDisk(disk.id);
  await catalog.transact((view) => {
    const machine = disk.machineId === null ? undefined : view.machine(disk.machineId);
    const others: Change[] =
      machine === undefined ? [] : [{ put: { ...machine, diskIds: machine.diskIds.filter((id) => id !== disk.id) } }];
    return { changes: [{ remove: keyOf(disk) }, ...others], result: null };
  });
}

/** Runs work on one log; what is wrong with that log is reported, and touches nothing else of the store. */
export async function unlessLogFailed(work: () => Promise<void>): Promise<Finding[]> {
  try {
    await work();
    return [];
  } catch (error) {
    const isOfLog = (['LOG_DAMAGED', 'LOG_FENCED', 'LOG_UNAVAILABLE'] as const).some((code) =>
      isStillpointError(error, code),
    );
    if (!isStillpointError(error) || !isOfLog) throw error;
    return [fileFinding(error.code, 'live', error.message)];
  }
}

/** What the logs dropped when they were opened; without as many as are `known`, which came first. */
export function uncleanFindings(engine: Engine, known = 0): Finding[] {
  const unclean = engine.unclean().slice(known);
  return unclean.map(({ logId, durableLsn, droppedRecords, droppedBytes, lastTimeMs }) => {
    const when = lastTimeMs === null ? '' : `, of ${new Date(lastTimeMs).toISOString()}`;
    const message = `the write log was not closed; it ends with record ${durableLsn}${when}, and ${droppedRecords} records (${droppedBytes} bytes) behind it that were never flushed are gone`;
    return fileFinding('UNCLEAN_STOP', `live/${logId}`, message);
  });
}

/** The logs that could not be opened. */
export function unavailableFindings(engine: Engine): Finding[] {
  return unavailableLogs(engine).map(({ logId, message }) => {
    const what = `the write log could not be opened: ${message}; its disks wait, everything else goes on`;
    return fileFinding('LOG_UNAVAILABLE', `live/${logId}`, what);
  });
}

/** The logs that take no more writes. */
export function fencedFindings(engine: Engine): Finding[] {
  return engine.fencedLogs().map(({ logId, message }) => fileFinding('LOG_FENCED', `live/${logId}`, message));
}
