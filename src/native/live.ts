/** Live disks over the addon: what an addon without write logs answers. */

import type { Cut, LiveDisk, LiveEngine, LivePressure, PendingCut, ScannedDisk, UncleanLog } from './engine.js';
import { StillpointError } from '../store/errors.js';

function refused(): Promise<never> {
  return Promise.reject(new StillpointError('INTERNAL', 'the addon has no live disks'));
}

/** No live disks: listings are empty, what removes finds nothing, and every other call is refused. */
export class WithoutLiveDisks implements LiveEngine {
  liveDisks(): readonly LiveDisk[] {
    return [];
  }

  unclean(): readonly UncleanLog[] {
    return [];
  }

  pendingCuts(): readonly PendingCut[] {
    return [];
  }

  livePressure(): LivePressure {
    return { debtBytes: 0, availableBytes: 0, logBytes: 0, layers: 0 };
  }

  createDisk(): Promise<void> {
    return refused();
  }

  importDisk(): Promise<Omit<ScannedDisk, 'diskId' | 'chunks'>> {
    return refused();
  }

  createMachineLog(): Promise<void> {
    return refused();
  }

  deleteMachineLog(): Promise<void> {
    return Promise.resolve();
  }

  attachDisk(): Promise<void> {
    return refused();
  }

  detachDisk(): Promise<void> {
    return refused();
  }

  deleteDisk(): Promise<void> {
    return Promise.resolve();
  }

  growDisk(): Promise<void> {
    return refused();
  }

  readDisk(): Promise<void> {
    return refused();
  }

  writeDisk(): Promise<string> {
    return refused();
  }

  zeroDisk(): Promise<string> {
    return refused();
  }

  flushDisk(): Promise<void> {
    return refused();
  }

  batchDisk(): Promise<void> {
    return refused();
  }

  cut(): Promise<Cut> {
    return refused();
  }

  copy(): Promise<{ readonly disks: readonly ScannedDisk[] }> {
    return refused();
  }

  releaseCut(): Promise<void> {
    return Promise.resolve();
  }

  dropCut(): Promise<void> {
    return Promise.resolve();
  }

  resetDisks(): Promise<{ readonly lsn: string }> {
    return refused();
  }

  pointInTime(): Promise<Cut> {
    return refused();
  }
}
