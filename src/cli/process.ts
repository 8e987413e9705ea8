/**
 * Connects the command line to the process: its streams, its signals, its exit code.
 *
 * The first SIGINT, SIGTERM or SIGHUP asks the command to end, which it does with `CANCELLED` and nothing left half
 * done. The second ends the process at once, which a store survives like any crash.
 */

import { commandClock } from '../control/clock.js';
import type { Library } from '../control/library.js';
import { run } from './run.js';
import { Interruption, type EndingSignal } from './shell.js';

const endingSignals: readonly EndingSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

function abortOnSignals(controller: AbortController): void {
  for (const signal of endingSignals) {
    process.on(signal, () => {
      if (!controller.signal.aborted) {
        controller.abort(new Interruption(signal));
        return;
      }
      // By the signal itself: the parent sees why, and nothing that still runs can hold it up.
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
  }
}

/** Runs the process's own command line and ends the process. */
export async function runProcess(library: Library): Promise<void> {
  const controller = new AbortController();
  abortOnSignals(controller);
  const exitCode = await run(process.argv.slice(2), {
    stdout: process.stdout,
    stderr: process.stderr,
    environment: process.env,
    workingDirectory: process.cwd(),
    library,
    clock: commandClock,
    zoneOffsetMinutes: (timeMs) => -new Date(timeMs).getTimezoneOffset(),
    signal: controller.signal,
  });
  // Everything printed has left the process, and the store is closed; idle handles of libraries are not waited for.
  process.exit(exitCode);
}
