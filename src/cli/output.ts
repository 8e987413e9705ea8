/**
 * Writing to stdout and stderr: waits while the reader is slow, and ends quietly when the reader has gone.
 *
 * A reader that closes a pipe early (`stillpoint list | head -1`) has got what it wanted. Writing to it then throws
 * `OutputClosed`, which ends the command without a message and with exit code 0.
 */

import type { ProcessStream } from './shell.js';
import { fromSystem } from '../control/system-error.js';

/** The reader of a stream has gone. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed';
}

function isClosedPipe(error: Error): boolean {
  return 'code' in error && (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED');
}

/** One stream of the process. */
export class Output {
  /** Whether a person looks at it. */
  readonly isTerminal: boolean;
  readonly #stream: ProcessStream;
  #failure: Error | null = null;

  constructor(stream: ProcessStream) {
    this.#stream = stream;
    this.isTerminal = stream.isTTY === true;
    stream.on('error', this.#onError);
  }

  readonly #onError = (error: Error): void => {
    this.#failure ??= isClosedPipe(error)
      ? new OutputClosed('the reader has closed the stream')
      : (fromSystem(error, 'cannot write the output') ?? error);
  };

  /** Width of the terminal; 80 where there is none. */
  get columns(): number {
    return this.#stream.columns ?? 80;
  }

  /** Height of the terminal; 24 where there is none. */
  get rows(): number {
    return this.#stream.rows ?? 24;
  }

  get stream(): ProcessStream {
    return this.#stream;
  }

  /** Hands the text to the stream. Resolves when it has left the process. Throws `OutputClosed`. */
  async write(text: string): Promise<void> {
    this.#throwFailure();
    await new Promise<void>((resolve) => {
      // The callback has the error too, but only the event has it in every version of every stream.
      this.#stream.write(text, (error) => {
        if (error instanceof Error) this.#onError(error);
        resolve();
      });
    });
    this.#throwFailure();
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  /** For messages that nobody may be left to read. */
  async writeIfOpen(text: string): Promise<void> {
    await this.write(text).catch(() => undefined);
  }
}

/** Gathers small pieces of text into writes of about 64 KiB. */
export class BatchedOutput {
  readonly #output: Output;
  #pending: string[] = [];
  #pendingLength = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  async write(text: string): Promise<void> {
    this.#pending.push(text);
    this.#pendingLength += text.length;
    if (this.#pendingLength >= 65_536) await this.flush();
  }

  async flush(): Promise<void> {
    const text = this.#pending.join('');
    this.#pending = [];
    this.#pendingLength = 0;
    if (text !== '') await this.#output.write(text);
  }
}
