/** Waiting for time to pass, for who looks at something now and then; no result depends on how long it really was. */

/** Resolves after some time, or as soon as the signal aborts. A process may end while it waits, unless that is all it does. */
export function wait(ms: number, signal: AbortSignal, keepsProcess: boolean = false): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (!keepsProcess) timer.unref();
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
