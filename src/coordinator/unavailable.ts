/**
 * What waits for a write log that could not be opened: its machine, its disks, and what the log may hold of points. A log that
 * takes no more writes can be read, and waits for the same.
 *
 * Damage is no such case: trying again does not help, so what a damaged log had is lost, and reported as that.
 */

import type { MachineRecord } from '../catalog/record.js';
import type { CatalogView } from '../catalog/view.js';
import type { Engine, UnavailableLog } from '../native/engine.js';
import { StillpointError } from '../store/errors.js';
import type { DiskId, MachineId } from '../store/units.js';

/** The logs that may be opened after all. */
export function unavailableLogs(engine: Engine): readonly UnavailableLog[] {
  return engine.unavailableLogs().filter(({ code }) => code !== 'LOG_DAMAGED');
}

/** The logs that wait for `reopenLogs`: those that may be opened after all, and those that take no more writes. */
export function failedLogs(engine: Engine): readonly UnavailableLog[] {
  return [...unavailableLogs(engine), ...engine.fencedLogs()];
}

/** The log of a machine that waits for `reopenLogs`; null when all is well, or it is lost. */
export function failedLogOfMachine(engine: Engine, machineId: MachineId): UnavailableLog | null {
  return failedLogs(engine).find(({ logId }) => logId === machineId) ?? null;
}

/** The same of a managed disk. */
export function failedLogOfDisk(
  engine: Engine,
  disk: { readonly id: DiskId; readonly machineId: MachineId | null },
): UnavailableLog | null {
  const fenced = (): UnavailableLog | undefined => engine.fencedLogs().find(({ diskIds }) => diskIds.includes(disk.id));
  return diskWaitsFor(engine, disk) ?? fenced() ?? null;
}

/** The log that a machine waits for; null when its log is open, or lost. */
export function machineWaitsFor(engine: Engine, machineId: MachineId): UnavailableLog | null {
  return unavailableLogs(engine).find(({ logId }) => logId === machineId) ?? null;
}

/** The log that a managed disk waits for; null when a log that is open has it, or when it is lost. */
export function diskWaitsFor(
  engine: Engine,
  { id, machineId }: { readonly id: DiskId; readonly machineId: MachineId | null },
): UnavailableLog | null {
  const logs = unavailableLogs(engine);
  if (logs.length === 0 || engine.liveDisks().some(({ diskId }) => diskId === id)) return null;
  const own = logs.find(({ logId, diskIds }) => logId === (machineId ?? id) || diskIds.includes(id));
  // One that cannot be read at all may have any disk.
  return own ?? logs.find(({ diskIds }) => diskIds.length === 0) ?? null;
}

/** What is wrong with a machine whose log could not be opened; null when it is open, or lost. */
export function unavailableError(engine: Engine, view: CatalogView, machineId: MachineId): StillpointError | null {
  const log = machineWaitsFor(engine, machineId);
  if (log === null) return null;
  const name = view.machine(machineId)?.name ?? machineId;
  return new StillpointError('LOG_UNAVAILABLE', `the write log of ${name} could not be opened: ${log.message}`, {
    machine: name,
    log: log.logId,
    reason: log.code,
  });
}

/** Proves that a machine's log is open. Errors: `LOG_UNAVAILABLE`. */
export function checkAvailable(engine: Engine, view: CatalogView, machineId: MachineId): void {
  const error = unavailableError(engine, view, machineId);
  if (error !== null) throw error;
}

/** Proves that a log has disks of a machine. Errors: `DISK_NOT_FOUND`: the machine's log is lost. */
export function checkHasLog(engine: Engine, { id, name }: MachineRecord): void {
  if (engine.liveDisks().some(({ machineId }) => machineId === id)) return;
  throw new StillpointError('DISK_NOT_FOUND', `no write log has a disk of ${name}; its live data cannot be read`, {
    machine: name,
  });
}
