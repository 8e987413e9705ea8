/**
 * Following one long call: its progress is polled on a timer, its cancelling is a request.
 *
 * The engine never calls back, so a slow listener cannot queue anything; it only sees fewer steps.
 */

import type { Control, Operation } from './engine.js';

/** How often a listener is told, at most: ten times a second. */
const pollMs = 100;

/** An operation that can be asked to stop. */
export interface Cancellable extends Operation {
  cancel(): void;
}

/** Runs `call` while forwarding the signal and the progress that `control` asks for. */
export async function follow<O extends Cancellable, T>(
  control: Control | undefined,
  operation: O,
  call: (operation: O) => Promise<T>,
): Promise<T> {
  const { signal, onProgress } = control ?? {};
  const cancel = (): void => {
    operation.cancel();
  };
  if (signal?.aborted === true) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  const tell = (): void => onProgress?.({ doneBytes: operation.doneBytes, totalBytes: operation.totalBytes });
  const timer = onProgress === undefined ? undefined : setInterval(tell, pollMs);
  try {
    const value = await call(operation);
    tell();
    return value;
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', cancel);
  }
}
