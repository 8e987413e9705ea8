/**
 * What records and details look like, checked: the types of `record.ts` as valibot schemas.
 *
 * A record's checksum was verified before it gets here, so a refusal means a defect or a forged file, and the message
 * needs no more than the first thing that is wrong. Which library checks is this file's business alone: others get
 * functions.
 */

import * as v from 'valibot';

import { consistencyModes, idPattern, toCollectionId, toDiskId, toMachineId, toPointId } from '../store/units.js';
import { isJson, type Json } from './json.js';
import { isName } from './names.js';
import {
  pointStates,
  diskStates,
  recordStates,
  type CollectionRecord,
  type CutDetail,
  type ExternalDiskRecord,
  type HoldRecord,
  type MachineRecord,
  type ManagedDiskRecord,
  type ManifestDetail,
  type PointRecord,
  type SequenceRecord,
} from './record.js';

/** A value that is as it must be, or the first thing that is wrong with it, as `member: what`. */
export type Checked<T> =
  { readonly success: true; readonly data: T } | { readonly success: false; readonly reason: string };

/** Checks a value that was read as JSON. */
export type Check<T> = (value: unknown) => Checked<T>;

const id = v.pipe(v.string(), v.regex(idPattern));
const machineId = v.pipe(id, v.transform(toMachineId));
const diskId = v.pipe(id, v.transform(toDiskId));
const collectionId = v.pipe(id, v.transform(toCollectionId));
const pointId = v.pipe(id, v.transform(toPointId));
const name = v.pipe(v.string(), v.check(isName, 'Not a name'));
/** Times may lie before 1970 on a machine whose clock was never set. */
const time = v.pipe(v.number(), v.safeInteger());
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const json = v.custom<Json>(isJson);
const sectorBytes = v.picklist([512, 4096]);
/** Left out where there is none: as in records that know no managed disks. */
const rate = v.nullable(v.pipe(count, v.minValue(1)));
const lsn = v.optional(v.nullable(v.pipe(v.string(), v.regex(/^(?:0|[1-9][0-9]{0,19})$/))), null);
const recordState = v.picklist(recordStates);
const diskState = v.picklist(diskStates);

const pointDisk = v.object({
  id: diskId,
  role: name,
  name,
  kind: v.picklist(['external', 'managed']),
  source: v.nullable(v.string()),
  sizeBytes: count,
  sectorBytes,
  excluded: v.boolean(),
});

const consistency = v.object({
  requested: v.nullable(v.picklist(consistencyModes)),
  reached: v.picklist(consistencyModes),
  writers: v.array(json),
});

const captured = v.object({ startedMs: time, endedMs: time, bytesRead: count, bytesNew: count, bytesStored: count });

/** The check of each type of record's payload. */
export interface PayloadChecks {
  readonly machine: Check<Omit<MachineRecord, 'type'>>;
  readonly disk: Check<Omit<ExternalDiskRecord, 'type'> | Omit<ManagedDiskRecord, 'type'>>;
  readonly collection: Check<Omit<CollectionRecord, 'type'>>;
  readonly point: Check<Omit<PointRecord, 'type'>>;
  readonly sequence: Check<Omit<SequenceRecord, 'type'>>;
  readonly hold: Check<Omit<HoldRecord, 'type'>>;
}

/** The payloads, by the record's type. Members that are not known are refused. */
export const payloadChecks: PayloadChecks = {
  machine: checkOf(
    v.strictObject({
      id: machineId,
      name,
      subscription: v.string(),
      resourceGroup: name,
      configuration: json,
      kind: v.optional(v.picklist(['external', 'managed']), 'external'),
      state: v.optional(recordState, 'ready'),
      diskIds: v.array(diskId),
      createdMs: time,
    }),
  ),
  disk: checkOf(
    v.variant('kind', [
      v.strictObject({
        id: diskId,
        machineId,
        name,
        role: name,
        kind: v.literal('external'),
        source: v.string(),
        sectorBytes,
        createdMs: time,
      }),
      v.strictObject({
        id: diskId,
        machineId: v.nullable(machineId),
        name,
        role: name,
        kind: v.literal('managed'),
        state: diskState,
        sizeBytes: count,
        sectorBytes,
        generation: count,
        createdMs: time,
        limits: v.exactOptional(v.strictObject({ operationsPerSecond: rate, bytesPerSecond: rate })),
      }),
    ]),
  ),
  collection: checkOf(v.strictObject({ id: collectionId, machineId, name, createdMs: time })),
  point: checkOf(
    v.strictObject({
      id: pointId,
      machineId,
      collectionId,
      name,
      sequence: count,
      createdMs: time,
      state: v.picklist(pointStates),
      failure: v.nullable(v.strictObject({ code: v.string(), message: v.string() })),
      consistency,
      configuration: json,
      disks: v.array(pointDisk),
      captured: v.nullable(captured),
      lsn,
    }),
  ),
  sequence: checkOf(v.strictObject({ machineId, last: count, reserved: v.exactOptional(count) })),
  hold: checkOf(v.strictObject({ pointId, reason: v.string(), createdMs: time })),
};

/** The detail of a manifest (format.md section 7). Members that are not known are ignored. */
export const checkDetail: Check<ManifestDetail> = checkOf(
  v.object({
    machine: v.object({ id: machineId, name, subscription: v.string(), resourceGroup: name }),
    collection: v.object({ id: collectionId, name }),
    name,
    sequence: count,
    createdMs: time,
    consistency,
    configuration: json,
    disks: v.array(pointDisk),
    captured,
    lsn,
  }),
);

/** What a cut's record in the write log says of its point besides names and disks. Members that are not known are ignored. */
export const checkCutDetail: Check<CutDetail> = checkOf(
  v.object({
    collectionId,
    sequence: count,
    createdMs: time,
    requested: v.nullable(v.picklist(consistencyModes)),
    excluded: v.array(diskId),
  }),
);

function checkOf<T>(schema: v.GenericSchema<unknown, T>): Check<T> {
  return (value) => {
    const result = v.safeParse(schema, value, { abortEarly: true });
    if (result.success) return { success: true, data: result.output };
    const [issue] = result.issues;
    return { success: false, reason: `${v.getDotPath(issue) ?? 'value'}: ${issue.message}` };
  };
}
