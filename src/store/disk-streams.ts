/** Node streams over a managed disk. */

import { Readable, Writable } from 'node:stream';

import type { Disk } from './disk-handle.js';
import { StillpointError } from './errors.js';

/** Bytes moved at once; what a log record takes. */
const pieceBytes = 1 << 20;

/** The bytes of a disk from `start` to `end`, read as they are asked for. */
export function diskReadable(disk: Disk, start: number, end: number, signal: AbortSignal | undefined): Readable {
  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let offset = start; offset < end; offset += pieceBytes) {
      yield await disk.read(offset, Math.min(pieceBytes, end - offset), { signal });
    }
  }
  return Readable.from(pieces(), { objectMode: false, highWaterMark: pieceBytes });
}

/** Writes what comes in pieces of whole sectors, in order, and flushes at the end. */
export class DiskWritable extends Writable {
  readonly #disk: Disk;
  readonly #sectorBytes: number;
  readonly #signal: AbortSignal | undefined;
  #offset: number;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;

  constructor(disk: Disk, start: number, sectorBytes: number, signal: AbortSignal | undefined) {
    super({ highWaterMark: pieceBytes, decodeStrings: true });
    this.#disk = disk;
    this.#offset = start;
    this.#sectorBytes = sectorBytes;
    this.#signal = signal;
  }

  override _write(chunk: Uint8Array, _encoding: string, callback: (error?: Error | null) => void): void {
    // A copy: the caller is told that the chunk was taken before it is written.
    this.#pending.push(new Uint8Array(chunk));
    this.#pendingBytes += chunk.length;
    if (this.#pendingBytes < pieceBytes) {
      callback();
      return;
    }
    settle(this.#writeOut(this.#pendingBytes - (this.#pendingBytes % this.#sectorBytes)), callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    settle(this.#finish(), callback);
  }

  async #finish(): Promise<void> {
    const rest = this.#pendingBytes % this.#sectorBytes;
    await this.#writeOut(this.#pendingBytes - rest);
    if (rest > 0) {
      const message = `the stream ends with ${rest} bytes that fill no sector of ${this.#sectorBytes}; they were not written`;
      throw new StillpointError('ARGUMENT_INVALID', message, { length: rest, sectorBytes: this.#sectorBytes });
    }
    await this.#disk.flush({ signal: this.#signal });
  }

  /** Writes so many of the bytes that wait. */
  async #writeOut(length: number): Promise<void> {
    const all = Buffer.concat(this.#pending, this.#pendingBytes);
    this.#pending = length === all.length ? [] : [all.subarray(length)];
    this.#pendingBytes = all.length - length;
    for (let at = 0; at < length; at += pieceBytes) {
      const piece = all.subarray(at, Math.min(length, at + pieceBytes));
      await this.#disk.write(this.#offset, piece, { signal: this.#signal });
      this.#offset += piece.length;
    }
  }
}

function settle(work: Promise<void>, callback: (error?: Error | null) => void): void {
  work.then(
    () => callback(),
    (error: unknown) => callback(error instanceof Error ? error : new Error(String(error))),
  );
}
