/**
 * Lets other processes look at a store while one command has it open for writing.
 *
 * A command that runs for longer than a moment listens on the control socket and takes commands that only look. Others
 * would have to outlive the command that carries them out; they get `STORE_LOCKED`, as ever.
 */

import { wait } from '../store/wait.js';
import type { Store } from '../index.js';
import type { CommandContext } from './context.js';

/** How long a command runs before it listens. */
const momentMs = 300;
/** How long a look of somebody else may take when the command is done. */
const graceMs = 2000;

/** Listening, or about to. */
export interface Guests {
  /** Takes the socket away and lets looks that run end; to be awaited before the store is closed. */
  leave(): Promise<void>;
}

/** Listens when a moment has passed. Where that is impossible, others find the store locked. */
export function guestsOf(context: CommandContext, store: Store): Guests {
  const leaving = new AbortController();
  const listening = listen(context, store, leaving.signal).catch(() => null);
  return {
    leave: async () => {
      leaving.abort();
      await (await listening)?.close(graceMs);
    },
  };
}

async function listen(
  { storePath, library, clock }: CommandContext,
  store: Store,
  leaving: AbortSignal,
): Promise<{ close(graceMs: number): Promise<void> } | null> {
  await wait(momentMs, leaving);
  if (leaving.aborted) return null;
  const { ControlServer } = await import('./server.js');
  return ControlServer.listen({ store, storePath, library, clock, takes: 'brief' });
}
