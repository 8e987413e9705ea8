/** What the command line needs of the process it runs in, as an interface, so that tests can stand in for it. */

import type { Writable } from 'node:stream';
import type { CommandClock } from '../control/clock.js';
import type { Library } from '../control/library.js';

/** A stream as a process has it. */
export type ProcessStream = Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };

/** What the command line needs of its process. */
export interface Shell {
  readonly stdout: ProcessStream;
  readonly stderr: ProcessStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** What relative paths are relative to. */
  readonly workingDirectory: string;
  readonly library: Library;
  readonly clock: CommandClock;
  /** How far local time is ahead of UTC at a moment. */
  readonly zoneOffsetMinutes: (timeMs: number) => number;
  /** Aborted with an `Interruption` when the user wants the command to end. */
  readonly signal: AbortSignal;
}

/** The signals that end a command. */
export type EndingSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** Why a command was asked to end; the reason of the shell's `AbortSignal`. */
export class Interruption extends Error {
  override readonly name = 'Interruption';
  /** 128 and the number of the signal, as shells have it. */
  readonly exitCode: number;

  constructor(signal: EndingSignal) {
    super(`interrupted by ${signal}`);
    this.exitCode = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }[signal];
  }
}
