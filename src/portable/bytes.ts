/**
 * Fields of on-disk structures: little-endian loads, zero checks, hexadecimal text.
 *
 * Every load is within bytes whose length was checked by the parser that calls it; a load past the end is a mistake in
 * that parser and throws a `RangeError`, it never yields a made-up value.
 */

import { Buffer } from 'node:buffer';

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function u8(bytes: Uint8Array, at: number): number {
  return viewOf(bytes).getUint8(at);
}

export function i8(bytes: Uint8Array, at: number): number {
  return viewOf(bytes).getInt8(at);
}

export function u16(bytes: Uint8Array, at: number): number {
  return viewOf(bytes).getUint16(at, true);
}

export function u32(bytes: Uint8Array, at: number): number {
  return viewOf(bytes).getUint32(at, true);
}

export function u64(bytes: Uint8Array, at: number): bigint {
  return viewOf(bytes).getBigUint64(at, true);
}

/** A u64 as a number, or null where a number cannot hold it exactly. */
export function safeU64(bytes: Uint8Array, at: number): number | null {
  const value = u64(bytes, at);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;
}

/** Whether the bytes at [from, to) are all zero. */
export function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  if (from > to || to > bytes.length) throw new RangeError(`bytes ${from} to ${to} of ${bytes.length}`);
  return bytes.subarray(from, to).every((byte) => byte === 0);
}

/** Whether an ASCII text stands at `at`. */
export function hasText(bytes: Uint8Array, at: number, text: string): boolean {
  return Buffer.from(bytes.subarray(at, at + text.length)).toString('latin1') === text;
}

export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

/** Lower-case hexadecimal text of bytes. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
