/**
 * Records and the seal as bytes in the database. docs/catalog-format.md, sections 1 to 3.
 *
 * Decoding proves a value before anything of it is used: first the checksum over key and payload, then the payload's
 * shape. What does not hold throws a `DamagedError` that names the key.
 */

import type { Checksum } from './checksum.js';
import { DamagedError } from './damaged-error.js';
import { deepFreeze } from './json.js';
import { keyOf, type CatalogRecord, type RecordKey } from './record.js';
import { payloadChecks, type Checked } from './record-schema.js';
import { catalogVersion, type Seal } from './seal.js';

/** Key of the meta record. */
export const metaKey = 'meta';

const sumBytes = 8;
const metaPayloadBytes = 32;
const utf8 = new TextEncoder();
const utf8Strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A record as it is written. */
export interface EncodedRecord {
  readonly key: RecordKey;
  readonly value: Uint8Array;
  /** The record's part of the digest. */
  readonly sum: bigint;
}

/** A record as it was read, proven. */
export interface DecodedRecord {
  readonly key: RecordKey;
  readonly record: CatalogRecord;
  readonly sum: bigint;
}

function sumOf(checksum: Checksum, key: string, payload: Uint8Array): bigint {
  const keyBytes = utf8.encode(key);
  const all = new Uint8Array(keyBytes.length + 1 + payload.length);
  all.set(keyBytes);
  all.set(payload, keyBytes.length + 1);
  return checksum(all);
}

function sealedValue(checksum: Checksum, key: string, payload: Uint8Array): { value: Uint8Array; sum: bigint } {
  const sum = sumOf(checksum, key, payload);
  const value = new Uint8Array(sumBytes + payload.length);
  new DataView(value.buffer).setBigUint64(0, sum, true);
  value.set(payload, sumBytes);
  return { value, sum };
}

function provenPayload(checksum: Checksum, key: string, value: Uint8Array): { payload: Uint8Array; sum: bigint } {
  if (value.length < sumBytes) throw new DamagedError(`the record ${key} has only ${value.length} bytes`);
  const payload = value.subarray(sumBytes);
  const sum = new DataView(value.buffer, value.byteOffset).getBigUint64(0, true);
  if (sumOf(checksum, key, payload) !== sum) throw new DamagedError(`the checksum of the record ${key} does not hold`);
  return { payload, sum };
}

/** A record's payload as JSON text: all members but the type, which the key has. */
export function payloadText(record: CatalogRecord): string {
  return JSON.stringify({ ...record, type: undefined });
}

/** A record as bytes. */
export function encodeRecord(checksum: Checksum, record: CatalogRecord): EncodedRecord {
  const key = keyOf(record);
  return { key, ...sealedValue(checksum, key, utf8.encode(payloadText(record))) };
}

/** A record from its key and the JSON value of its payload; the dump uses this too. */
export function recordFrom(key: string, payload: unknown): { readonly key: RecordKey; readonly record: CatalogRecord } {
  const record = parsed(key, payload);
  const own = keyOf(record);
  if (own !== key) throw new DamagedError(`the record under ${key} says that it is ${own}`);
  return { key: own, record: deepFreeze(record) };
}

function parsed(key: string, payload: unknown): CatalogRecord {
  const type = key.slice(0, key.indexOf('/'));
  switch (type) {
    case 'machine':
      return { type, ...accepted(key, payloadChecks.machine(payload)) };
    case 'disk':
      return { type, ...accepted(key, payloadChecks.disk(payload)) };
    case 'collection':
      return { type, ...accepted(key, payloadChecks.collection(payload)) };
    case 'point':
      return { type, ...accepted(key, payloadChecks.point(payload)) };
    case 'sequence':
      return { type, ...accepted(key, payloadChecks.sequence(payload)) };
    case 'hold':
      return { type, ...accepted(key, payloadChecks.hold(payload)) };
    default:
      throw new DamagedError(`there is no kind of record with the key ${JSON.stringify(key)}`);
  }
}

function accepted<T>(key: string, result: Checked<T>): T {
  if (result.success) return result.data;
  throw new DamagedError(`the record ${key} is not as the format says: ${result.reason}`);
}

/** A record from its bytes. */
export function decodeRecord(checksum: Checksum, key: string, value: Uint8Array): DecodedRecord {
  const { payload, sum } = provenPayload(checksum, key, value);
  let json: unknown;
  try {
    json = JSON.parse(utf8Strict.decode(payload));
  } catch (cause) {
    throw new DamagedError(`the record ${key} is no JSON`, cause);
  }
  return { ...recordFrom(key, json), sum };
}

/** The seal as the value of the meta record. */
export function encodeMeta(checksum: Checksum, seal: Seal): Uint8Array {
  const payload = new DataView(new ArrayBuffer(metaPayloadBytes));
  payload.setUint16(0, catalogVersion, true);
  payload.setBigUint64(8, seal.sequence, true);
  payload.setBigUint64(16, seal.count, true);
  payload.setBigUint64(24, seal.digest, true);
  return sealedValue(checksum, metaKey, new Uint8Array(payload.buffer)).value;
}

/** The seal from the value of the meta record, or the higher version that wrote it. */
export function decodeMeta(checksum: Checksum, value: Uint8Array): Seal | { readonly newerVersion: number } {
  const { payload } = provenPayload(checksum, metaKey, value);
  if (payload.length < 2) throw new DamagedError('the meta record is too short');
  const fields = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const version = fields.getUint16(0, true);
  if (version > catalogVersion) return { newerVersion: version };
  if (version !== catalogVersion || payload.length !== metaPayloadBytes)
    throw new DamagedError('the meta record is not as the format says');
  if (payload.subarray(2, 8).some((byte) => byte !== 0))
    throw new DamagedError('bytes of the meta record are not zero');
  return {
    sequence: fields.getBigUint64(8, true),
    count: fields.getBigUint64(16, true),
    digest: fields.getBigUint64(24, true),
  };
}
