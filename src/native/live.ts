/**
 * Requests to live disks: numbered, so that one callback from the addon settles any number of promises.
 *
 * The addon keeps what is done until it is taken; it calls once when there is something. It is taken once in a turn of the event
 * loop: whoever awaits a write and writes again has it done while the addon's callbacks are still being called, and Node.js calls
 * up to 1,000 of those before it looks at anything else, timers, files and captures included. While requests are under way the
 * process stays alive, as it does for other input and output.
 */

import { StillpointError } from '../store/errors.js';
import type { DiskOperation } from './engine.js';
import { errorFromFailure } from './failure.js';
import type { FailureRecord } from './failure.js';

/** What the addon says of a request that is done. */
export interface Completion {
  readonly number: number;
  readonly lsn?: number;
  readonly bytes?: Uint8Array;
  readonly failure?: FailureRecord;
}

/** One operation of a batch as the addon takes it. */
export interface BatchRecord {
  kind: string;
  offset?: number;
  length?: number;
  bytes?: Uint8Array;
  fua?: boolean;
}

/** The addon's queue of requests. */
export interface RequestQueue<E> {
  read(engine: E, request: number, diskId: string, offset: number, length: number): void;
  write(engine: E, request: number, diskId: string, offset: number, bytes: Uint8Array, fua: boolean): void;
  zero(engine: E, request: number, diskId: string, offset: number, length: number, trim: boolean, fua: boolean): void;
  flush(engine: E, request: number, diskId: string): void;
  batch(engine: E, request: number, diskId: string, operations: BatchRecord[]): void;
  /** Takes a request back that has not begun; false when it has. */
  takeBack(diskId: string, request: number): boolean;
  liftLimits(): void;
  takeDone(): Completion[];
}

interface Waiting {
  readonly resolve: (completion: Completion) => void;
  readonly reject: (error: Error) => void;
}

/** Longest delay of a timer; it only keeps the process alive. */
const FOREVER_MS = 2 ** 31 - 1;

/** The requests of one open store. */
export class DiskRequests<E> {
  readonly #engine: E;
  readonly #queue: RequestQueue<E>;
  readonly #waiting = new Map<number, Waiting>();
  readonly #alive: NodeJS.Timeout;
  #next = 0;
  #isSettling = false;

  /** `open` makes the queue, which calls back when something is done. */
  constructor(engine: E, open: (callback: () => void) => RequestQueue<E>) {
    this.#engine = engine;
    this.#alive = setInterval(() => undefined, FOREVER_MS);
    this.#alive.unref();
    this.#queue = open(() => {
      this.#settleSoon();
    });
  }

  async read(diskId: string, offset: number, buffer: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { bytes } = await this.#request(diskId, signal, (number) => {
      this.#queue.read(this.#engine, number, diskId, offset, buffer.byteLength);
    });
    if (bytes !== undefined) fill(buffer, bytes);
  }

  async write(diskId: string, offset: number, bytes: Uint8Array, fua: boolean, signal?: AbortSignal): Promise<string> {
    const { lsn } = await this.#request(diskId, signal, (number) => {
      this.#queue.write(this.#engine, number, diskId, offset, bytes, fua);
    });
    return String(lsn ?? 0);
  }

  async zero(
    diskId: string,
    offset: number,
    length: number,
    options: { readonly trim: boolean; readonly fua: boolean },
    signal?: AbortSignal,
  ): Promise<string> {
    const { lsn } = await this.#request(diskId, signal, (number) => {
      this.#queue.zero(this.#engine, number, diskId, offset, length, options.trim, options.fua);
    });
    return String(lsn ?? 0);
  }

  async flush(diskId: string, signal?: AbortSignal): Promise<void> {
    await this.#request(diskId, signal, (number) => {
      this.#queue.flush(this.#engine, number, diskId);
    });
  }

  async batch(diskId: string, operations: readonly DiskOperation[], signal?: AbortSignal): Promise<void> {
    // The caller may change its list and its buffers while the batch runs.
    const reads = operations.filter((operation) => operation.kind === 'read');
    const lengths = reads.map(({ buffer }) => buffer.byteLength);
    const buffers = reads.map(({ buffer }) => buffer);
    const { bytes } = await this.#request(diskId, signal, (number) => {
      this.#queue.batch(this.#engine, number, diskId, operations.map(batchRecord));
    });
    if (bytes === undefined) return;
    let at = 0;
    for (const [index, buffer] of buffers.entries()) {
      const end = at + (lengths[index] ?? 0);
      fill(buffer, bytes.subarray(at, end));
      at = end;
    }
  }

  /** Has everything begin that waits for rates. */
  liftLimits(): void {
    this.#queue.liftLimits();
  }

  /** Nothing is under way any more. */
  close(): void {
    clearInterval(this.#alive);
  }

  async #request(
    diskId: string,
    signal: AbortSignal | undefined,
    submit: (number: number) => void,
  ): Promise<Completion> {
    const number = this.#next;
    this.#next += 1;
    const ended = new Promise<Completion>((resolve, reject) => {
      submit(number);
      this.#waiting.set(number, { resolve, reject });
      if (this.#waiting.size === 1) this.#alive.ref();
    });
    if (signal === undefined) return ended;
    const takeBack = (): void => {
      this.#takeBack(diskId, number);
    };
    signal.addEventListener('abort', takeBack);
    try {
      return await ended;
    } finally {
      signal.removeEventListener('abort', takeBack);
    }
  }

  #takeBack(diskId: string, number: number): void {
    const waiting = this.#waiting.get(number);
    if (waiting === undefined || !this.#queue.takeBack(diskId, number)) return;
    this.#waiting.delete(number);
    if (this.#waiting.size === 0) this.#alive.unref();
    waiting.reject(new StillpointError('CANCELLED', 'the request was cancelled before it began'));
  }

  #settleSoon(): void {
    if (this.#isSettling) return;
    this.#isSettling = true;
    setImmediate(() => {
      this.#isSettling = false;
      this.#settle();
    });
  }

  #settle(): void {
    for (const completion of this.#queue.takeDone()) {
      const waiting = this.#waiting.get(completion.number);
      this.#waiting.delete(completion.number);
      if (completion.failure === undefined) waiting?.resolve(completion);
      else waiting?.reject(errorFromFailure(completion.failure));
    }
    if (this.#waiting.size === 0) this.#alive.unref();
  }
}

/** Gives a reader what was read. Errors: `ARGUMENT_INVALID`, when its buffer was given away or shrunk meanwhile. */
function fill(buffer: Uint8Array, bytes: Uint8Array): void {
  if (buffer.byteLength < bytes.byteLength) {
    const message = `the buffer had ${bytes.byteLength} bytes when the read began and has ${buffer.byteLength} now`;
    throw new StillpointError('ARGUMENT_INVALID', message, { length: bytes.byteLength });
  }
  buffer.set(bytes);
}

function batchRecord(operation: DiskOperation): BatchRecord {
  switch (operation.kind) {
    case 'read':
      return { kind: 'read', offset: operation.offset, length: operation.buffer.byteLength };
    case 'write':
      return { kind: 'write', offset: operation.offset, bytes: operation.bytes, fua: operation.fua ?? false };
    case 'zero':
    case 'trim':
      return { kind: operation.kind, offset: operation.offset, length: operation.length };
    case 'flush':
      return { kind: 'flush' };
  }
}
