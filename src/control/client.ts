/**
 * Runs commands in the process that has the store open, over its control socket.
 *
 * A socket behind which nobody listens, or where nobody answers
 * as a server does, counts as none: the command then opens the store itself and hears from its lock how things are.
 */

import type { Socket } from 'node:net';

import { isStillpointError, StillpointError } from '../store/errors.js';
import { wait } from '../store/wait.js';
import type { Extent } from '../index.js';
import type { CommandName, RequestOf, ResultOf } from './commands.js';
import type { DiffStream, DiffSummary } from './commands/diff.js';
import type { CommandContext, TaskProgress } from './context.js';
import { sentFailure } from './failure.js';
import { LineBudget, linesOf, received } from './lines.js';
import {
  answerBytesMax,
  protocolVersions,
  requestBytesMax,
  type ClientMessage,
  type ServerHello,
  type ServerMessage,
} from './protocol.js';
import { hasCode, socketName, withShortPath } from './socket-place.js';

/** The server ends and has not begun what was asked for. */
export class ServerEnding extends Error {
  override readonly name = 'ServerEnding';
}

/** What is left of the server's messages when errors are thrown. */
type Answer = Exclude<ServerMessage, { readonly error: unknown } | { readonly bye: unknown }>;

/** How long a server has to say hello. */
const helloMs = 10_000;

async function connected(path: string): Promise<Socket> {
  const { connect } = await import('node:net');
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

/** Connects; null where nobody listens. A queue that is full is waited for. */
async function socketOf(storePath: string, signal: AbortSignal): Promise<Socket | null> {
  for (let attempt = 0; attempt < 100 && !signal.aborted; attempt += 1) {
    try {
      return await withShortPath(storePath, socketName, connected);
    } catch (error) {
      if (!hasCode(error, 'EAGAIN')) return null;
      await wait(50, signal, true);
    }
  }
  return null;
}

/** The server of a store; null where there is none. Errors: `SERVER_BUSY`, `CANCELLED`. */
export async function serverOf(storePath: string, signal: AbortSignal): Promise<ControlClient | null> {
  signal.throwIfAborted();
  const socket = await socketOf(storePath, signal);
  if (socket === null) return null;
  const client = new ControlClient(socket, storePath);
  if (await client.greet(signal)) return client;
  client.close();
  return null;
}

/** A connection to the server of a store, for one call after the other. */
export class ControlClient {
  readonly #socket: Socket;
  readonly #storePath: string;
  readonly #lines: AsyncGenerator<string, void, undefined>;
  #hello: ServerHello | null = null;

  constructor(socket: Socket, storePath: string) {
    this.#socket = socket;
    this.#storePath = storePath;
    this.#lines = linesOf(received(socket), answerBytesMax, new LineBudget(answerBytesMax));
    socket.on('error', () => undefined);
  }

  /** What the server said of itself; null before it did. */
  get hello(): ServerHello | null {
    return this.#hello;
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Says hello; false where nobody answers in time, or not as a server of this kind does. Errors: `SERVER_BUSY`. */
  async greet(signal: AbortSignal): Promise<boolean> {
    const answered = new AbortController();
    void wait(helloMs, AbortSignal.any([answered.signal, signal])).then(() => {
      if (!answered.signal.aborted) this.close();
    });
    try {
      await this.#send({ hello: { versions: protocolVersions } });
      const answer = await this.#next();
      if (!('hello' in answer)) return false;
      this.#hello = answer.hello;
      return true;
    } catch (error) {
      if (isStillpointError(error, 'SERVER_BUSY')) throw error;
      return false;
    } finally {
      answered.abort();
    }
  }

  /** Runs a command there. Errors: those of the command; `SERVER_LOST` when the server goes before it answers. */
  async call<Name extends CommandName>(
    context: Pick<CommandContext, 'signal' | 'onProgress'>,
    command: Name,
    request: RequestOf<Name>,
  ): Promise<ResultOf<Name>> {
    const stopListening = await this.#start(context.signal, command, request, false);
    try {
      for (;;) {
        const message = await this.#step(context.onProgress);
        // A cast: both sides are of one version of the protocol, and the result is only printed.
        if ('result' in message) return message.result as ResultOf<Name>;
      }
    } finally {
      stopListening();
    }
  }

  /** As `diff` does, with extents that come over the socket as fast as the receiver takes them. */
  async diff(
    context: Pick<CommandContext, 'signal' | 'onProgress'>,
    request: RequestOf<'diff'>,
    receive: (stream: DiffStream) => Promise<void>,
  ): Promise<DiffSummary> {
    const stopListening = await this.#start(context.signal, 'diff', request, true);
    const ending: { summary: DiffSummary | null } = { summary: null };
    try {
      const first = await this.#step(context.onProgress);
      if (!('header' in first)) throw this.#lost('it sent no header');
      // A cast: as for a result.
      const header = first.header as Omit<DiffStream, 'extents'>;
      await receive({ ...header, extents: this.#extents(context.onProgress, ending) });
      if (ending.summary === null) throw this.#lost('it sent no sums');
      return ending.summary;
    } finally {
      stopListening();
    }
  }

  async *#extents(
    onProgress: (progress: TaskProgress) => void,
    ending: { summary: DiffSummary | null },
  ): AsyncGenerator<Extent, void, undefined> {
    for (;;) {
      const message = await this.#step(onProgress);
      if ('result' in message) {
        // A cast: as for a result.
        ending.summary = message.result as DiffSummary;
        return;
      }
      if (!('rows' in message)) continue;
      for (const [offset, length, kind] of message.rows) yield { offset, length, kind };
    }
  }

  async #start(signal: AbortSignal, command: CommandName, request: unknown, rows: boolean): Promise<() => void> {
    signal.throwIfAborted();
    const cancel = (): void => {
      const reason: unknown = signal.reason;
      void this.#send({ cancel: { reason: reason instanceof Error ? reason.message : 'cancelled' } });
    };
    // A connection that breaks before the whole call has left cannot have brought it.
    if (!(await this.#send({ call: { command, request, rows } }))) throw new ServerEnding('the server has gone');
    signal.addEventListener('abort', cancel, { once: true });
    if (signal.aborted) cancel();
    return () => signal.removeEventListener('abort', cancel);
  }

  /** The next message that is not progress. Throws what an error says, and `ServerEnding`. */
  async #step(onProgress: (progress: TaskProgress) => void): Promise<Answer> {
    for (;;) {
      const message = await this.#next();
      if (!('progress' in message)) return message;
      onProgress(message.progress);
    }
  }

  /** Resolves when the message has left this process; false where the connection broke first. */
  async #send(message: ClientMessage): Promise<boolean> {
    const text = `${JSON.stringify(message)}\n`;
    if (Buffer.byteLength(text) > requestBytesMax) {
      throw new StillpointError('ARGUMENT_INVALID', `a request is at most ${requestBytesMax} bytes long`);
    }
    return new Promise((resolve) => {
      this.#socket.write(text, (error) => resolve(error === undefined || error === null));
    });
  }

  async #next(): Promise<Answer> {
    let line: IteratorResult<string, void>;
    try {
      line = await this.#lines.next();
    } catch (error) {
      throw this.#lost(error instanceof Error ? error.message : String(error));
    }
    if (line.done === true) throw this.#lost('the connection ended');
    const message: unknown = JSON.parse(line.value);
    if (typeof message !== 'object' || message === null) throw this.#lost('it sent no message');
    if ('error' in message) throw sentFailure(message.error);
    if ('bye' in message) throw new ServerEnding('the server is ending');
    // A cast: both sides are of one version of the protocol.
    return message as Answer;
  }

  #lost(why: string): StillpointError {
    const path = this.#storePath;
    const pid = this.#hello?.pid ?? 0;
    const message = `the process ${pid} that has the store ${path} open ended before it answered: ${why}`;
    return new StillpointError('SERVER_LOST', message, { path, pid });
  }
}
