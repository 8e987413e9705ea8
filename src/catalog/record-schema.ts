/**
 * What records and details look like, checked: the types of `record.ts` as zod schemas.
 *
 * A record's checksum was verified before it gets here, so a refusal means a defect or a forged file, and the message
 * needs no more than the first thing that is wrong.
 */

import * as z from 'zod';

import { consistencyModes, idPattern, toCollectionId, toDiskId, toMachineId, toPointId } from '../store/units.js';
import { isJson, type Json } from './json.js';
import { isName } from './names.js';
import {
  pointStates,
  type CollectionRecord,
  type DiskRecord,
  type MachineRecord,
  type ManifestDetail,
  type PointRecord,
  type SequenceRecord,
} from './record.js';

const id = z.string().regex(idPattern);
const machineId = id.transform(toMachineId);
const diskId = id.transform(toDiskId);
const collectionId = id.transform(toCollectionId);
const pointId = id.transform(toPointId);
const name = z.string().refine(isName);
const count = z.number().int().nonnegative();
/** Times may lie before 1970 on a machine whose clock was never set. */
const time = z.number().int();
const json = z.custom<Json>(isJson);
const sectorBytes = z.union([z.literal(512), z.literal(4096)]);

const pointDisk = z.object({
  id: diskId,
  role: name,
  name,
  kind: z.enum(['external', 'managed']),
  source: z.string().nullable(),
  sizeBytes: count,
  sectorBytes,
  excluded: z.boolean(),
});

const consistency = z.object({
  requested: z.enum(consistencyModes).nullable(),
  reached: z.enum(consistencyModes),
  writers: z.array(json),
});

const captured = z.object({ startedMs: time, endedMs: time, bytesRead: count, bytesNew: count, bytesStored: count });

/** The payload schema of each type of record. */
export interface PayloadSchemas {
  readonly machine: z.ZodType<Omit<MachineRecord, 'type'>>;
  readonly disk: z.ZodType<Omit<DiskRecord, 'type'>>;
  readonly collection: z.ZodType<Omit<CollectionRecord, 'type'>>;
  readonly point: z.ZodType<Omit<PointRecord, 'type'>>;
  readonly sequence: z.ZodType<Omit<SequenceRecord, 'type'>>;
}

/** The payloads, by the record's type. Members that are not known are refused. */
export const payloadSchemas: PayloadSchemas = {
  machine: z.strictObject({
    id: machineId,
    name,
    subscription: z.string(),
    resourceGroup: name,
    configuration: json,
    diskIds: z.array(diskId),
    createdMs: time,
  }),
  disk: z.strictObject({
    id: diskId,
    machineId,
    name,
    role: name,
    kind: z.literal('external'),
    source: z.string(),
    sectorBytes,
    createdMs: time,
  }),
  collection: z.strictObject({ id: collectionId, machineId, name, createdMs: time }),
  point: z.strictObject({
    id: pointId,
    machineId,
    collectionId,
    name,
    sequence: count,
    createdMs: time,
    state: z.enum(pointStates),
    failure: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
    consistency,
    configuration: json,
    disks: z.array(pointDisk),
    captured: captured.nullable(),
  }),
  sequence: z.strictObject({ machineId, last: count }),
};

/** The detail of a manifest (format.md section 7). Members that are not known are ignored. */
export const detailSchema: z.ZodType<ManifestDetail> = z.object({
  machine: z.object({ id: machineId, name, subscription: z.string(), resourceGroup: name }),
  collection: z.object({ id: collectionId, name }),
  name,
  sequence: count,
  createdMs: time,
  consistency,
  configuration: json,
  disks: z.array(pointDisk),
  captured,
});

/** The first thing that is wrong, as `member: what`. */
export function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  return issue === undefined ? 'not valid' : `${issue.path.join('.') || 'value'}: ${issue.message}`;
}
