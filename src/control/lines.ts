/**
 * Lines out of a stream of bytes, and into one; both bounded.
 *
 * Reading keeps one unfinished line, of a length that the reader chooses. Writing waits for a slow reader, so that never
 * more than one message is held for it, and gives a reader up that takes nothing at all for a long time.
 */

import type { Socket } from 'node:net';

import { StillpointError } from '../store/errors.js';
import { wait } from '../store/wait.js';

/** The other side does not keep to the protocol. */
export class ProtocolError extends StillpointError {
  constructor(message: string) {
    super('ARGUMENT_INVALID', message);
  }
}

/** How many bytes of unfinished lines several readers may hold together. */
export class LineBudget {
  readonly #bytesMax: number;
  #held = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  take(bytes: number): void {
    this.#held += bytes;
    if (this.#held > this.#bytesMax) throw new ProtocolError('too many unfinished lines are held at once');
  }

  give(bytes: number): void {
    this.#held -= bytes;
  }
}

/**
 * What a socket receives, from now on. Leaving the loop leaves the socket as it is.
 *
 * Other than with a stream's own iterator, what came before the connection broke is given before that is said: the last words
 * of a server that ends tell whether it has begun with a call.
 */
export async function* received(socket: Socket): AsyncGenerator<Uint8Array, void, undefined> {
  const parts: Uint8Array[] = [];
  let isOver = socket.destroyed;
  let wake = (): void => undefined;
  const over = (): void => {
    isOver = true;
    wake();
  };
  socket.on('data', (bytes: Buffer) => {
    parts.push(bytes);
    socket.pause();
    wake();
  });
  socket.once('end', over).once('close', over);
  try {
    for (;;) {
      const bytes = parts.shift();
      if (bytes !== undefined) yield bytes;
      else if (isOver) return;
      else {
        socket.resume();
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    socket.removeAllListeners('data').off('end', over).off('close', over).resume();
  }
}

const lineFeed = 10;
const decoder = new TextDecoder('utf-8', { fatal: true });

function textOf(parts: readonly Uint8Array[]): string {
  try {
    return decoder.decode(Buffer.concat(parts));
  } catch (error) {
    throw error instanceof TypeError ? new ProtocolError('a line is not UTF-8') : error;
  }
}

/** The lines of a stream, without their ends; what follows the last line feed is dropped. Throws `ProtocolError`. */
export async function* linesOf(
  source: AsyncIterable<Uint8Array>,
  bytesMax: number,
  budget: LineBudget,
): AsyncGenerator<string, void, undefined> {
  let parts: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const bytes of source) {
      let from = 0;
      for (;;) {
        const at = bytes.indexOf(lineFeed, from);
        const part = bytes.subarray(from, at === -1 ? bytes.length : at);
        if (length + part.length > bytesMax) throw new ProtocolError(`a line is longer than ${bytesMax} bytes`);
        length += part.length;
        parts.push(part);
        budget.take(part.length);
        if (at === -1) break;
        const line = textOf(parts);
        budget.give(length);
        parts = [];
        length = 0;
        from = at + 1;
        yield line;
      }
    }
  } finally {
    budget.give(length);
  }
}

/** Bytes that are handed to a socket at a time. */
const sliceBytes = 65_536;

/** How long somebody who is in a hurry waits. */
const hurriedMs = 1000;

/** Sends messages, one line each. */
export class LineWriter {
  readonly #socket: Socket;
  readonly #stallMs: number;
  readonly #hurry = new AbortController();
  #isSending = false;

  /** `stallMs`: a reader that takes nothing for so long is given up. */
  constructor(socket: Socket, stallMs: number) {
    this.#socket = socket;
    this.#stallMs = stallMs;
  }

  /** From now on a reader that takes nothing is given up soon. */
  hurry(): void {
    this.#hurry.abort();
  }

  /** Sends a message, after all before it. Resolves when the socket has room again, or is gone. One call at a time. */
  async send(message: object): Promise<void> {
    this.#isSending = true;
    try {
      const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
      for (let at = 0; at < bytes.length; at += sliceBytes) {
        if (this.#socket.destroyed || !this.#socket.writable) return;
        if (!this.#socket.write(bytes.subarray(at, at + sliceBytes))) await this.#until('drain');
      }
    } finally {
      this.#isSending = false;
    }
  }

  /** Sends a message that nobody needs: not at all where it would wait. */
  sendIfIdle(message: object): void {
    if (this.#isSending || !this.#socket.writable || this.#socket.writableNeedDrain) return;
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  /** Ends the connection when the reader has taken everything. */
  async end(): Promise<void> {
    if (this.#socket.destroyed) return;
    this.#socket.end();
    if (!this.#socket.writableFinished) await this.#until('finish');
    this.#socket.destroy();
  }

  async #until(event: 'drain' | 'finish'): Promise<void> {
    const passed = new AbortController();
    const done = (): void => passed.abort();
    this.#socket.once(event, done).once('close', done);
    if (this.#socket.destroyed) done();
    await wait(this.#stallMs, AbortSignal.any([passed.signal, this.#hurry.signal]));
    await wait(hurriedMs, passed.signal);
    this.#socket.off(event, done).off('close', done);
    if (!passed.signal.aborted) this.#socket.destroy();
  }
}
