/**
 * Keeps a store open for writing and serves it: the control socket, NBD, metrics over HTTP.
 *
 * Starts in one order and stops in the other, so that whoever was answered was answered by a whole server: store, control
 * socket, NBD, HTTP, ready; then control socket (calls that run have some time to end), NBD, HTTP, store.
 */

import type { Health, HttpListen, HttpServer } from '../api/http.js';
import type { Metrics } from '../api/metrics.js';
import { briefCommands } from '../control/commands.js';
import type { CommandContext } from '../control/context.js';
import { ControlServer, type AnsweredCall } from '../control/server.js';
import type { NbdOptions, NbdServer, Store, StoreEvent } from '../index.js';
import { StillpointError } from '../store/errors.js';
import { activatedSockets } from './activation.js';
import { openLog, type Log, type LogLevel } from './log.js';
import { nbdAddressText } from './nbd.js';
import { notifierOf } from './notify.js';

export interface ServeOptions {
  /** Sockets that were passed are added. */
  readonly nbd: NbdOptions;
  /** Null: none, unless a socket was passed. */
  readonly http: HttpListen | null;
  /** Memory for decoded chunks; undefined: as `openStore` has it. */
  readonly chunkCacheBytes?: number | undefined;
  readonly logFormat: 'json' | 'text';
  readonly logLevel: LogLevel;
  /** How long calls that run have to end after the first signal. */
  readonly stopTimeoutMs: number;
}

/** What is served, and where. */
export interface Ready {
  readonly path: string;
  readonly pid: number;
  readonly control: string;
  /** `unix:PATH` or `tcp:HOST:PORT`. */
  readonly nbd: readonly string[];
  readonly http: string | null;
}

/** What a server needs of its process. */
export interface Surroundings {
  readonly version: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly writeLog: (line: string) => void;
  readonly onReady: (ready: Ready) => Promise<void>;
}

/** Everything that was started so far; null for what was not. */
interface Started {
  control: ControlServer | null;
  nbd: NbdServer | null;
  http: HttpServer | null;
  metrics: Metrics | null;
}

const failures: ReadonlySet<string> = new Set(['INTERNAL', 'IO_FAILED', 'LOG_FENCED', 'STORE_FENCED', 'LOG_DAMAGED']);

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function logAnswer(log: Log, { command, code, message, durationMs }: AnsweredCall): void {
  const fields = { command, durationMs: Math.round(durationMs) };
  // Those that only look come from watchers and shells, again and again.
  if (code === null) log[briefCommands.has(command) ? 'debug' : 'info']('call done', fields);
  else log[failures.has(code) ? 'error' : 'info']('call failed', { ...fields, code, reason: message });
}

function logEvent(log: Log, { kind, ...fields }: StoreEvent): void {
  if (kind === 'copied') log.info('point copied', fields);
  else if (kind === 'copyFailed') log.error('copy failed', fields);
  else if (kind === 'logFailed') log.error('a write log failed', fields);
  else if (kind === 'logOpened') log.info('a write log is open again', fields);
  else if (kind === 'unclean') log.warn('a write log was not closed', fields);
  else log['level' in fields && fields.level === 'normal' ? 'info' : 'warn']('pressure of writers', fields);
}

/**
 * Serves until the context's signal aborts; resolves when everything is closed.
 *
 * Errors: those of opening a store (`STORE_LOCKED` where it is served already), `ARGUMENT_INVALID` for addresses; `STORE_FENCED`
 * when the store has to be opened again after a failed write, which is for whoever starts this process to do.
 */
export async function serve(context: CommandContext, options: ServeOptions, surroundings: Surroundings): Promise<void> {
  const { environment, writeLog: write } = surroundings;
  const { clock, storePath, library, signal } = context;
  const log = openLog({ format: options.logFormat, level: options.logLevel, clock, write });
  const passed = activatedSockets(environment, process.pid);
  const nbdOptions = { ...options.nbd, listen: [...options.nbd.listen, ...passed.nbd.map((fd) => ({ fd }))] };
  const [httpFd] = passed.http;
  const httpListen = httpFd === undefined ? options.http : { fd: httpFd };
  const notifier = notifierOf(environment, process.pid, (reason) => log.warn('cannot notify', { reason }));

  if (signal.aborted) return;
  log.info('opening the store', { path: storePath });
  await notifier.tell(`STATUS=opening ${storePath}`);
  const { chunkCacheBytes } = options;
  const store = await library.openStore({ path: storePath, threads: context.threads ?? undefined, chunkCacheBytes });
  for (const { file, code, message } of store.findings) log.warn('found on opening', { file, code, reason: message });

  const fenced = new AbortController();
  const ending = AbortSignal.any([signal, fenced.signal]);
  const started: Started = { control: null, nbd: null, http: null, metrics: null };
  const watching: Promise<void>[] = [];
  const onAnswered = (call: AnsweredCall): void => {
    logAnswer(log, call);
    started.metrics?.answered(call);
    if (call.code === 'STORE_FENCED') fenced.abort();
  };
  try {
    // Opening can take minutes, in which the process may have been asked to end.
    if (ending.aborted) return;
    started.control = await ControlServer.listen({ store, storePath, library, clock, takes: 'all', onAnswered });
    if (nbdOptions.listen.length > 0) started.nbd = await store.serveNbd(nbdOptions);
    if (httpListen !== null) await listenForHttp(started, httpListen, store, surroundings.version, ending);
    const failed = new Set<string>();
    const onEvent = async (event: StoreEvent): Promise<void> => {
      if (event.kind === 'copyFailed' && event.code === 'STORE_FENCED') fenced.abort();
      if (event.kind === 'logFailed') failed.add(event.logId);
      else if (event.kind === 'logOpened') failed.delete(event.logId);
      else return;
      const waiting = failed.size === 0 ? '' : `; write logs that failed: ${failed.size}`;
      await notifier.tell(`STATUS=serving ${storePath}${waiting}`);
    };
    for (const watched of [watchEvents(store, log, started, ending, onEvent), notifier.keepAlive(store, ending)]) {
      watching.push(watched.catch((error: unknown) => log.error('watching failed', { reason: reasonOf(error) })));
    }
    const ready = readyOf(started, storePath);
    log.info('ready', { path: storePath, control: ready.control, nbd: ready.nbd, http: ready.http });
    await surroundings.onReady(ready);
    await notifier.tell('READY=1', `STATUS=serving ${storePath}`);
    await aborted(ending);
  } finally {
    log.info('stopping');
    await notifier.tell('STOPPING=1', 'STATUS=stopping');
    await stop(started, store, options.stopTimeoutMs, log);
    await Promise.allSettled(watching);
    log.info('stopped');
  }
  if (fenced.signal.aborted) {
    throw new StillpointError('STORE_FENCED', `a write to ${storePath} failed; the store has to be opened again`, {
      path: storePath,
    });
  }
}

async function listenForHttp(
  started: Started,
  listen: HttpListen,
  store: Store,
  version: string,
  ending: AbortSignal,
): Promise<void> {
  // Loaded only where they are asked for: they are larger than all the rest.
  const [{ createMetrics }, { startHttp }] = await Promise.all([import('../api/metrics.js'), import('../api/http.js')]);
  const metrics = createMetrics({
    version,
    store,
    control: () => started.control?.statistics() ?? { clients: 0, running: 0, refused: 0 },
    nbd: () => started.nbd?.statistics() ?? null,
  });
  started.metrics = metrics;
  started.http = await startHttp({ listen, metrics, health: () => healthOf(store, ending) });
}

/** A store that does not answer is being closed. */
async function healthOf(store: Store, ending: AbortSignal): Promise<Health> {
  const status = ending.aborted ? null : await store.status().catch(() => null);
  if (status === null || ending.aborted) return { status: 'stopping' };
  const failed = status.failedLogs.map(({ machine, disk, logId }) => machine ?? disk ?? logId);
  return failed.length === 0 ? { status: 'ok' } : { status: 'degraded', failed };
}

function readyOf({ control, nbd, http }: Started, path: string): Ready {
  return {
    path,
    pid: process.pid,
    control: control?.path ?? '',
    nbd: nbd?.addresses.map(nbdAddressText) ?? [],
    http: http?.url ?? null,
  };
}

async function watchEvents(
  store: Store,
  log: Log,
  started: Started,
  signal: AbortSignal,
  onEvent: (event: StoreEvent) => Promise<void>,
): Promise<void> {
  for await (const event of store.events({ signal })) {
    logEvent(log, event);
    await onEvent(event);
    started.metrics?.happened(event.kind);
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Stops what was started, each part whatever became of the one before; the store last. */
async function stop({ control, nbd, http }: Started, store: Store, stopTimeoutMs: number, log: Log): Promise<void> {
  const { running } = control?.statistics() ?? { running: 0 };
  if (running > 0) log.info('waiting for calls', { running, stopTimeoutMs });
  const results = [
    await settled(control?.close(stopTimeoutMs)),
    await settled(nbd?.close()),
    await settled(http?.close()),
    await settled(store.close()),
  ];
  for (const error of results) {
    if (error !== null) log.error('stopping failed', { reason: reasonOf(error) });
  }
  const last = results.at(-1) ?? null;
  // That the store could not be closed is the one failure that says something about data.
  if (last instanceof Error) throw last;
}

async function settled(promise: Promise<void> | undefined): Promise<unknown> {
  try {
    await promise;
    return null;
  } catch (error) {
    return error;
  }
}
