/**
 * Decoding of stored bytes (format.md section 4.3).
 *
 * Guarantees: what comes back has exactly the plain length. It does not prove that these are the right bytes; that is
 * the id's part, in `content.ts`.
 */

import { createDCtx, decompress, decompressUsingDict, init } from '@bokuweb/zstd-wasm';

import { zstdShapeDefect } from './zstd-shape.js';

export const codecPlain = 0;
export const codecZstd = 1;
export const codecLz4 = 2;
export const codecDelta = 3;

/** Decodes zstd frames. Throws an `Error` that says why when stored bytes do not decode to `plainBytes` bytes. */
export interface ZstdDecoder {
  full(stored: Uint8Array, plainBytes: number): Uint8Array;
  /** `base`: plain bytes of the base chunk, the raw prefix of the frame. */
  delta(stored: Uint8Array, plainBytes: number, base: Uint8Array): Uint8Array;
}

/**
 * Bytes put before a raw prefix. The decoder's only call with a prefix takes one that begins with 37 A4 30 EC for a
 * trained dictionary; behind eight zero bytes it is content whatever it holds. Offsets count back from the prefix's
 * end, so bytes before its beginning move nothing.
 */
const prefixGuardBytes = 8;

let decoder: Promise<ZstdDecoder> | undefined;

/** The decoder of this process; its WebAssembly module is started on the first call. */
export function loadZstdDecoder(): Promise<ZstdDecoder> {
  decoder ??= startDecoder();
  return decoder;
}

/**
 * A decoding context, kept for the life of the process; each call begins it anew.
 *
 * The package has one WebAssembly instance in a process, and starting it a second time takes the memory away from under
 * whoever uses the first. So it is started only where it does not answer yet, which it says by throwing.
 */
async function startContext(): Promise<number> {
  try {
    return createDCtx();
  } catch {
    await init();
    return createDCtx();
  }
}

async function startDecoder(): Promise<ZstdDecoder> {
  const context = await startContext();
  return {
    full: (stored, plainBytes) => {
      checkShape(stored, plainBytes);
      return checkLength(decompress(stored, { defaultHeapSize: plainBytes }), plainBytes);
    },
    delta: (stored, plainBytes, base) => {
      checkShape(stored, plainBytes);
      const prefix = new Uint8Array(prefixGuardBytes + base.length);
      prefix.set(base, prefixGuardBytes);
      const plain = decompressUsingDict(context, stored, prefix, { defaultHeapSize: plainBytes });
      return checkLength(plain, plainBytes);
    },
  };
}

function checkShape(stored: Uint8Array, plainBytes: number): void {
  const defect = zstdShapeDefect(stored, plainBytes);
  if (defect !== null) throw new Error(defect);
}

function checkLength(plain: Uint8Array, plainBytes: number): Uint8Array {
  if (plain.length !== plainBytes) throw new Error(`decoded to ${plain.length} bytes, not ${plainBytes}`);
  return plain;
}
