/**
 * What every command is given besides its request.
 *
 * A command is a function `(context, request) => result`. Requests and results are plain data, the results being what
 * `--json` prints, and nothing in this folder knows a terminal: the same functions can answer over a socket.
 */

import type { CommandClock } from './clock.js';
import type { HeldStore } from './held.js';
import type { Library } from './library.js';

/** How far a long command is. */
export interface TaskProgress {
  /** What is being done, in a few words: `capture web1`. */
  readonly task: string;
  readonly doneBytes: number;
  /** May grow while the task runs, and become less where holes are found; 0 while it is not known. */
  readonly totalBytes: number;
}

/** Something that opening a store found or put right, in brief. */
export interface OpeningNote {
  /** Relative to the store. */
  readonly file: string;
  readonly code: string;
  readonly message: string;
}

/** Why a look is a read-only one: another process has the lock, or nobody may write here. */
export type ReadOnlyReason = 'locked' | 'denied';

/** What every command is given besides its request. */
export interface CommandContext {
  readonly library: Library;
  /** The store's directory, absolute. */
  readonly storePath: string;
  /** The store, where this process keeps it open for commands of others; null where each command opens it. */
  readonly held: HeldStore | null;
  /** Open the store without its lock, also where a command would by itself take it. */
  readonly readOnly: boolean;
  /** Threads of the engine; null for one on each core. */
  readonly threads: number | null;
  readonly clock: CommandClock;
  /** Ends the command with `CANCELLED`. */
  readonly signal: AbortSignal;
  readonly onProgress: (progress: TaskProgress) => void;
  /** Told when a command that only looks went on without the lock, and why. */
  readonly onReadOnlyLook: (why: ReadOnlyReason) => void;
  /** Told what opening the store found or put right, if anything. */
  readonly onFindings: (findings: readonly OpeningNote[]) => void;
}

/** Progress of one library call, told under the name of a task. */
export function progressOf(
  context: CommandContext,
  task: string,
): (progress: { readonly doneBytes: number; readonly totalBytes: number }) => void {
  return ({ doneBytes, totalBytes }) => {
    context.onProgress({ task, doneBytes, totalBytes });
  };
}
