/**
 * One client of the control socket: hello, then one call at a time.
 *
 * What a client sends is untrusted. Whatever breaks the protocol is answered with an error and ends the connection; a
 * request that is wrong by itself is answered with an error, and the connection goes on. When the client goes, its call is
 * cancelled.
 */

import type { Socket } from 'node:net';

import { StillpointError } from '../store/errors.js';
import type { TaskProgress } from './context.js';
import type { DiffStream } from './commands/diff.js';
import { plainFailure } from './failure.js';
import { type LineBudget, LineWriter, linesOf, ProtocolError, received } from './lines.js';
import { protocolVersions, requestBytesMax, rowsMax, type ExtentRow, type ServerHello } from './protocol.js';
import { receivedMessage, type ReceivedMessage } from './requests.js';

/** How a call of a client is carried out. */
export interface Call {
  readonly command: string;
  readonly request: unknown;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: TaskProgress) => void;
  /** Takes the extents of a diff; null where the client wants the sums alone. */
  readonly receive: ((stream: DiffStream) => Promise<void>) | null;
}

/** What a session needs of its server. */
export interface SessionHost {
  readonly hello: Omit<ServerHello, 'version'>;
  readonly budget: LineBudget;
  /** A client that takes nothing for so long is given up. */
  readonly stallMs: number;
  run(call: Call): Promise<unknown>;
}

/** What a call becomes that the client no longer wants. */
function cancelled(reason: string): StillpointError {
  return new StillpointError('CANCELLED', reason);
}

type Received<Kind extends string> = Extract<ReceivedMessage, Readonly<Record<Kind, unknown>>>;

/** Talks to one client until it goes. */
export class Session {
  readonly #socket: Socket;
  readonly #host: SessionHost;
  readonly #writer: LineWriter;
  #isGreeted = false;
  #isEnding = false;
  #running: { readonly done: Promise<void>; readonly controller: AbortController } | null = null;

  constructor(socket: Socket, host: SessionHost) {
    this.#socket = socket;
    this.#host = host;
    this.#writer = new LineWriter(socket, host.stallMs);
  }

  /** Resolves when the client has gone and nothing of its call runs any more. Never rejects. */
  async run(): Promise<void> {
    // A connection that breaks ends the loop below; that is all there is to say about it.
    this.#socket.on('error', () => undefined);
    try {
      for await (const line of linesOf(received(this.#socket), requestBytesMax, this.#host.budget)) {
        await this.#receive(receivedMessage(line));
      }
      this.#cancel('the client went away');
    } catch (error) {
      this.#cancel('the connection broke');
      await this.#running?.done;
      if (error instanceof ProtocolError) await this.#writer.send({ error: plainFailure(error) });
    }
    await this.#running?.done;
    await this.#writer.end();
  }

  /** Ends the connection when no call runs, or no more. */
  endWhenIdle(): void {
    this.#isEnding = true;
    if (this.#running === null) this.#sayBye();
  }

  /** Cancels the call that runs, and waits no longer for a client that does not take its answer. */
  hurry(reason: string): void {
    this.#writer.hurry();
    this.#cancel(reason);
    this.endWhenIdle();
  }

  /** From here on nothing that the client sends is begun, so that it may do it elsewhere. */
  #sayBye(): void {
    this.#writer.sendIfIdle({ bye: {} });
    this.#socket.destroySoon();
  }

  #cancel(reason: string): void {
    this.#running?.controller.abort(cancelled(reason));
  }

  async #receive(message: ReceivedMessage): Promise<void> {
    if ('cancel' in message) {
      this.#cancel(message.cancel.reason);
      return;
    }
    if (this.#isEnding) return;
    if (this.#running !== null) throw new ProtocolError('a call is running; only cancel may follow');
    if ('hello' in message) {
      await this.#greet(message);
      return;
    }
    if (!this.#isGreeted) throw new ProtocolError('the first message is hello');
    this.#call(message);
  }

  async #greet({ hello }: Received<'hello'>): Promise<void> {
    const version = protocolVersions.find((each) => hello.versions.includes(each));
    if (this.#isGreeted || version === undefined) {
      throw new ProtocolError(`this side speaks version ${protocolVersions.join(', ')}, once`);
    }
    this.#isGreeted = true;
    await this.#writer.send({ hello: { version, ...this.#host.hello } });
  }

  #call({ call }: Received<'call'>): void {
    const controller = new AbortController();
    const done = this.#answer(call, controller.signal).finally(() => {
      this.#running = null;
      if (this.#isEnding) this.#sayBye();
    });
    this.#running = { done, controller };
  }

  async #answer({ command, request, rows }: Received<'call'>['call'], signal: AbortSignal): Promise<void> {
    try {
      const result = await this.#host.run({
        command,
        request,
        signal,
        onProgress: (progress) => this.#writer.sendIfIdle({ progress }),
        receive: rows ? (stream) => this.#sendRows(stream, signal) : null,
      });
      await this.#writer.send({ result });
    } catch (error) {
      await this.#writer.send({ error: plainFailure(error) });
    }
  }

  async #sendRows({ extents, ...header }: DiffStream, signal: AbortSignal): Promise<void> {
    await this.#writer.send({ header });
    let rows: ExtentRow[] = [];
    for await (const { offset, length, kind } of extents) {
      rows.push([offset, length, kind]);
      if (rows.length < rowsMax) continue;
      await this.#writer.send({ rows });
      rows = [];
      signal.throwIfAborted();
    }
    if (rows.length > 0) await this.#writer.send({ rows });
  }
}
