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
  AttachOptions,
  Disk,
  DiskCallOptions,
  DiskInfo,
  DiskLimitsRequest,
  Unavailable,
  DiskWriteOptions,
  ReadStreamOptions,
  WriteStreamOptions,
} from './store/disk-handle.js';
export type { EventOptions, FailedLog, PressureLevel, StoreEvent } from './store/events.js';
export type {
  NbdAddress,
  NbdCertificate,
  NbdListen,
  NbdOptions,
  NbdPreSharedKeys,
  NbdServer,
  NbdTls,
} from './store/nbd.js';
export type {
  CapturedPoint,
  Diff,
  DiffHeader,
  DiskRestoreReport,
  FileRestoreReport,
  Finding,
  FindingHit,
  InPlaceRestoreReport,
  MachineRestoreReport,
  RestoreDisksReport,
  RestoredMoment,
  RestorePoint,
  RestorePointDisk,
  Store,
  StoreStatus,
  StoreWork,
  VerifyReport,
  VirtualMachine,
  VirtualMachineDisk,
  VirtualMachineHandle,
} from './store/handles.js';
export type { MachineStatistics, PointStatistics, StoreStatistics, StoreTotals } from './store/statistics.js';
export type {
  CaptureOptions,
  CollectOptions,
  CreateDiskRequest,
  CreateStoreOptions,
  CreateVirtualMachineRequest,
  DiffOptions,
  DiskRequest,
  ExternalDiskRequest,
  ImportDiskRequest,
  LongCallOptions,
  ManagedDiskRequest,
  MomentOption,
  OpenStoreOptions,
  ReadOptions,
  RestoreDisksOptions,
  RestoreInPlaceOptions,
  RestoreOptions,
  RestoreToDiskOptions,
  RestoreToMachineOptions,
  SourceOptions,
  StatisticsOptions,
  VerifyOptions,
  VirtualMachineChange,
} from './store/requests.js';
export type { ImageFormat } from './images/formats.js';
export type { RestoredDisk } from './store/target-directory.js';
export type { CollectionId, ConsistencyMode, DiskId, MachineId, PointId, StoreId } from './store/units.js';
export type {
  CollectReport,
  DiskLimits,
  DiskOperation,
  EngineFactory,
  Extent,
  LivePressure,
  Operation,
  RestoreReport,
  StoreInfo,
} from './native/engine.js';
