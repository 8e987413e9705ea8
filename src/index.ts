/** Stillpoint: the public surface, named one by one. docs/api.md describes it. */

export { createStore, openStore } from './store/open.js';
export {
  errorTable,
  isStillpointError,
  StillpointError,
  type ErrorCode,
  type ErrorContext,
  type ErrorKind,
} from './store/errors.js';
export type { Clock } from './store/clock.js';
export type { Random } from './store/random.js';
export type { Parts } from './store/parts.js';
export type {
  Diff,
  DiffHeader,
  Finding,
  FindingHit,
  RestoreDisksReport,
  RestorePoint,
  RestorePointDisk,
  Store,
  StoreStatus,
  StoreWork,
  VerifyReport,
  VirtualMachine,
  VirtualMachineDisk,
} from './store/handles.js';
export type { MachineStatistics, PointStatistics, StoreStatistics, StoreTotals } from './store/statistics.js';
export type {
  CaptureOptions,
  CollectOptions,
  CreateStoreOptions,
  CreateVirtualMachineRequest,
  DiffOptions,
  DiskRequest,
  LongCallOptions,
  OpenStoreOptions,
  ReadOptions,
  RestoreDisksOptions,
  RestoreOptions,
  StatisticsOptions,
  VerifyOptions,
  VirtualMachineChange,
} from './store/requests.js';
export type { RestoredDisk } from './store/target-directory.js';
export type { CollectionId, ConsistencyMode, DiskId, MachineId, PointId, StoreId } from './store/units.js';
export type { CollectReport, EngineFactory, Extent, Operation, RestoreReport, StoreInfo } from './native/engine.js';
