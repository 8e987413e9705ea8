/** What a capture and a look at a machine give: plain values, with calls on them that are not printed. */

import type { CapturedPoint, RestorePoint, VirtualMachine, VirtualMachineHandle } from './handles.js';

/** A point with the calls that wait for its copy. */
export function capturedPoint(
  point: RestorePoint,
  copied: CapturedPoint['copied'],
  completionPercent: () => number,
): CapturedPoint {
  const handle = { ...point };
  Object.defineProperty(handle, 'completionPercent', {
    get: completionPercent,
    enumerable: point.state === 'cut',
  });
  // A cast: both members are there now, as the interface says.
  return Object.defineProperty(handle, 'copied', { value: copied }) as CapturedPoint;
}

/** A machine with the call that captures it. */
export function machineHandle(machine: VirtualMachine, capture: VirtualMachineHandle['capture']): VirtualMachineHandle {
  // A cast: the member is there now, as the interface says.
  return Object.defineProperty({ ...machine }, 'capture', { value: capture }) as VirtualMachineHandle;
}
