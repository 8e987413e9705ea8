/**
 * The control socket of a store that this process has open for writing: carries out commands for other processes.
 *
 * Peers are who may open the socket: its mode is 0600. Bounded: clients, the length of a request, what is held of unfinished
 * ones, one message for each slow reader. Closing takes the socket away first, lets calls that run go on for a
 * while, cancels them then, and waits for them.
 */

import { createServer, type Server, type Socket } from 'node:net';

import { StillpointError, type ErrorCode } from '../store/errors.js';
import { wait } from '../store/wait.js';
import type { Store } from '../index.js';
import type { CommandClock } from './clock.js';
import { briefCommands, runHere, type CommandName } from './commands.js';
import type { CommandContext } from './context.js';
import { plainFailure } from './failure.js';
import type { HeldStore } from './held.js';
import type { Library } from './library.js';
import { LineBudget, ProtocolError } from './lines.js';
import { mountNamespace } from './mounts.js';
import { checkedRequest, isCommand } from './requests.js';
import { Session, type Call, type SessionHost } from './session.js';
import { placeSocket, socketPathOf, type PlacedSocket } from './socket-place.js';

/** A call that was answered. */
export interface AnsweredCall {
  readonly command: CommandName;
  /** The error code; null for a result. */
  readonly code: ErrorCode | null;
  readonly message: string | null;
  readonly durationMs: number;
}

export interface ControlOptions {
  readonly store: Store;
  /** Absolute. */
  readonly storePath: string;
  readonly library: Library;
  readonly clock: CommandClock;
  /** All commands, or only those that take no longer than a moment. */
  readonly takes: 'all' | 'brief';
  /** Clients at once; more are told to come back. Default 1024. */
  readonly clientsMax?: number;
  /** A client that takes nothing of its answer for so long is given up. Default ten minutes. */
  readonly stallMs?: number;
  readonly onAnswered?: (call: AnsweredCall) => void;
}

export interface ControlStatistics {
  readonly clients: number;
  /** Calls that run. */
  readonly running: number;
  /** Clients that were turned away because there were too many. */
  readonly refused: number;
}

/** Bytes of unfinished requests, of all clients together. */
const unfinishedBytesMax = 64 * 1024 ** 2;

/** The stores of this process whose sockets are listened on. */
const listenedFor = new WeakSet<Store>();

function turnAway(socket: Socket, message: object): void {
  socket.on('error', () => undefined);
  socket.end(`${JSON.stringify(message)}\n`);
  socket.destroySoon();
}

/** The control socket of an open store. */
export class ControlServer {
  readonly #options: ControlOptions;
  readonly #server: Server;
  readonly #host: SessionHost;
  readonly #held: HeldStore;
  readonly #sessions = new Map<Session, Promise<void>>();
  #place: PlacedSocket | null = null;
  #refused = 0;
  #running = 0;
  #isClosing = false;

  private constructor(options: ControlOptions, namespace: string | null) {
    this.#options = options;
    this.#held = { store: options.store, unreported: options.store.findings };
    this.#host = {
      hello: {
        pid: process.pid,
        storeId: options.store.info.storeId,
        mountNamespace: namespace,
        takes: options.takes,
      },
      budget: new LineBudget(unfinishedBytesMax),
      stallMs: options.stallMs ?? 600_000,
      run: (call) => this.#run(call),
    };
    this.#server = createServer((socket) => this.#accept(socket));
    // A client that is gone before it was taken is no reason to end.
    this.#server.on('error', () => undefined);
  }

  /**
   * Listens on the store's socket. Only for who has the store open for writing. Errors: `TARGET_EXISTS` where this process
   * listens for the store already, and would take the socket away from itself; `IO_FAILED`, those of the system.
   */
  static async listen(options: ControlOptions): Promise<ControlServer> {
    const { store, storePath } = options;
    if (listenedFor.has(store)) {
      const message = `this process listens on ${socketPathOf(storePath)} already`;
      throw new StillpointError('TARGET_EXISTS', message, { path: socketPathOf(storePath) });
    }
    listenedFor.add(store);
    try {
      const made = new ControlServer(options, await mountNamespace());
      made.#place = await placeSocket(made.#server, storePath);
      return made;
    } catch (error) {
      listenedFor.delete(store);
      throw error;
    }
  }

  /** Where it listens. */
  get path(): string {
    return this.#place?.path ?? '';
  }

  statistics(): ControlStatistics {
    return { clients: this.#sessions.size, running: this.#running, refused: this.#refused };
  }

  /** Closes: calls that run have so long to end, and are cancelled then. `hurry` cancels them at once. */
  async close(graceMs: number, hurry?: AbortSignal): Promise<void> {
    this.#isClosing = true;
    await this.#place?.remove();
    listenedFor.delete(this.#options.store);
    this.#server.close();
    for (const session of this.#sessions.keys()) session.endWhenIdle();
    const isOver = new AbortController();
    const all = this.#drained().finally(() => isOver.abort());
    await wait(graceMs, hurry === undefined ? isOver.signal : AbortSignal.any([isOver.signal, hurry]));
    for (const session of this.#sessions.keys()) session.hurry('the process that carried it out was asked to end');
    await all;
  }

  async #drained(): Promise<void> {
    while (this.#sessions.size > 0) await Promise.all(this.#sessions.values());
  }

  #accept(socket: Socket): void {
    const { clientsMax = 1024 } = this.#options;
    if (this.#isClosing) {
      turnAway(socket, { bye: {} });
      return;
    }
    if (this.#sessions.size >= clientsMax) {
      this.#refused += 1;
      const message = `the process ${process.pid} has ${clientsMax} clients already`;
      turnAway(socket, { error: plainFailure(new StillpointError('SERVER_BUSY', message, { clientsMax })) });
      return;
    }
    const session = new Session(socket, this.#host);
    this.#sessions.set(
      session,
      session.run().finally(() => this.#sessions.delete(session)),
    );
  }

  async #run(call: Call): Promise<unknown> {
    const { command } = call;
    if (!isCommand(command)) throw new ProtocolError(`there is no command ${command.slice(0, 80)}`);
    const { clock, onAnswered = () => undefined } = this.#options;
    const startedMs = clock.monotonicMs();
    const answered = (code: ErrorCode | null, message: string | null): void =>
      onAnswered({ command, code, message, durationMs: clock.monotonicMs() - startedMs });
    this.#running += 1;
    try {
      const result = await this.#carryOut(command, call);
      answered(null, null);
      return result;
    } catch (error) {
      const { code, message } = plainFailure(error);
      answered(code, message);
      throw error;
    } finally {
      this.#running -= 1;
    }
  }

  async #carryOut(command: CommandName, call: Call): Promise<unknown> {
    const { storePath, takes } = this.#options;
    const request = checkedRequest(command, call.request);
    if (takes === 'brief' && !briefCommands.has(command)) {
      const message = `the process ${process.pid} has the store ${storePath} open for writing, for one command`;
      throw new StillpointError('STORE_LOCKED', message, { path: storePath, pid: process.pid });
    }
    const context = this.#contextOf(call);
    if (command === 'diff' && call.receive !== null) {
      const { diff } = await import('./commands/diff.js');
      return diff(context, checkedRequest('diff', request), call.receive);
    }
    return runHere(context, command, request);
  }

  #contextOf({ signal, onProgress }: Call): CommandContext {
    const { library, storePath, clock } = this.#options;
    return {
      library,
      storePath,
      held: this.#held,
      readOnly: false,
      threads: null,
      clock,
      signal,
      onProgress,
      onReadOnlyLook: () => undefined,
      onFindings: () => undefined,
    };
  }
}
