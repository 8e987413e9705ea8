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

/** Settles machines and disks. */
export async function settleLive(engine: Engine, catalog: Catalog): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const machine of catalog.view.machines()) {
    if (machine.state === 'ready') continue;
    findings.push(...(await unlessLogFailed(() => removeMachine(engine, catalog, machine))));
    const what =
      machine.state === 'creating'
        ? 'creating was interrupted; it was undone'
        : 'deleting was interrupted; it was finished';
    findings.push(fileFinding('WORK_INTERRUPTED', `live/${machine.id}`, `the machine ${machine.name}: ${what}`));
  }
  for (const disk of catalog.view.disks()) {
    if (disk.kind !== 'managed' || disk.state === 'ready') continue;
    findings.push(...(await unlessLogFailed(() => removeDisk(engine, catalog, disk))));
    const what =
      disk.state === 'creating'
        ? 'creating was interrupted; it was undone'
        : 'deleting was interrupted; it was finished';
    findings.push(fileFinding('WORK_INTERRUPTED', `live/${disk.id}`, `the disk ${disk.name}: ${what}`));
  }
  const { changes, lost, corrected } = alignedDisks(catalog.view, engine.liveDisks(), engine.info.createdMs);
  await catalog.transact(() => ({ changes, result: null }));
  for (const { diskId, isNew, message } of corrected) {
    findings.push(fileFinding(isNew ? 'CATALOG_DAMAGED' : 'WORK_INTERRUPTED', `live/${diskId}`, message));
  }
  for (const { diskId } of engine.liveDisks()) {
    const record = catalog.view.disk(toDiskId(diskId));
    if (record?.kind === 'managed' && record.limits !== undefined) await engine.limitDisk(diskId, record.limits);
  }
  for (const disk of lost) {
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
    if (!isStillpointError(error, 'LOG_DAMAGED') && !isStillpointError(error, 'LOG_FENCED')) throw error;
    return [fileFinding(error.code, 'live', error.message)];
  }
}

/** What the logs dropped when they were opened. */
export function uncleanFindings(engine: Engine): Finding[] {
  return engine.unclean().map(({ logId, durableLsn, droppedRecords, droppedBytes, lastTimeMs }) => {
    const when = lastTimeMs === null ? '' : `, of ${new Date(lastTimeMs).toISOString()}`;
    const message = `the write log was not closed; it ends with record ${durableLsn}${when}, and ${droppedRecords} records (${droppedBytes} bytes) behind it that were never flushed are gone`;
    return fileFinding('UNCLEAN_STOP', `live/${logId}`, message);
  });
}
