/** The control socket of a store that a program has open for purposes of its own. */

import type { Store } from '../index.js';
import { members, wholeNumber } from '../store/checks.js';
import { StillpointError } from '../store/errors.js';
import { commandClock } from './clock.js';
import { library } from './library.js';
import { ControlServer, type AnsweredCall, type ControlStatistics } from './server.js';

/** How long calls that run have to end when nothing else is said. */
const graceMsDefault = 30_000;

/** The longest interval of looks: nothing is looked for here. */
const intervalMs = 3_600_000;

export interface ServeControlOptions {
  /** Clients at once, 1 to 65,536; more are told to come back (`SERVER_BUSY`). Default 1024. */
  readonly clientsMax?: number | undefined;
  /** Told of each call once it was answered. */
  readonly onAnswered?: ((call: AnsweredCall) => void) | undefined;
}

/** A control socket that is listened on. */
export interface ControlService {
  /** `control.sock` in the store. */
  readonly path: string;
  statistics(): ControlStatistics;
  /**
   * Takes the socket away, then waits for calls that run: for `graceMs` (default 30,000), after which they are cancelled. Who
   * waits for an answer that was not begun is told so, and does it elsewhere. May be called more than once.
   */
  close(options?: { readonly graceMs?: number | undefined }): Promise<void>;
}

/**
 * Carries out commands of other processes in this one, on this store: `stillpoint capture web1` in a shell then does what
 * `store.capture('web1')` would. Who may do so is who may open the socket, which has mode 0600: the owner of the process, and root.
 *
 * To be closed before the store; where the store is closed first it ends with it, and calls that come in between get
 * `STORE_CLOSED`. Errors: `STORE_READ_ONLY`, `STORE_CLOSED`, `ARGUMENT_INVALID`; `TARGET_EXISTS` where the store is listened for
 * already; `IO_FAILED` where something that is no socket has its name.
 */
export async function serveControl(store: Store, options: ServeControlOptions = {}): Promise<ControlService> {
  const known = members('options', options, ['clientsMax', 'onAnswered']);
  const clientsMax =
    known['clientsMax'] === undefined ? 1024 : wholeNumber('clientsMax', known['clientsMax'], 1, 65_536);
  if (store.readOnly) {
    throw new StillpointError(
      'STORE_READ_ONLY',
      'the store is open for reading only: commands look at it by themselves',
    );
  }
  const { path: storePath } = await store.status();
  const { onAnswered = () => undefined } = options;
  const server = await ControlServer.listen({
    store,
    storePath,
    library,
    clock: commandClock,
    takes: 'all',
    clientsMax,
    onAnswered,
  });
  const ending = new AbortController();
  let closing: Promise<void> | null = null;
  const close = (graceMs: number): Promise<void> => {
    closing ??= server.close(graceMs).finally(() => ending.abort());
    return closing;
  };
  void untilClosed(store, ending.signal).then(() => close(0));
  return {
    path: server.path,
    statistics: () => server.statistics(),
    close: async ({ graceMs } = {}) =>
      close(graceMs === undefined ? graceMsDefault : wholeNumber('graceMs', graceMs, 0, 86_400_000)),
  };
}

/** Resolves when the store is closed: its events end then. */
async function untilClosed(store: Store, signal: AbortSignal): Promise<void> {
  const events = store.events({ signal, intervalMs })[Symbol.asyncIterator]();
  while ((await events.next()).done !== true);
}
