/** What comes over the control socket is checked here, against the types of the requests, before a command sees it. */

import { isAbsolute } from 'node:path';
import * as v from 'valibot';

import { imageFormats } from '../images/formats.js';
import type { CommandName, RequestOf } from './commands.js';
import { ProtocolError } from './lines.js';

const text = v.pipe(v.string(), v.maxLength(65_536));
const orNull = <Schema extends v.GenericSchema>(schema: Schema): v.NullableSchema<Schema, undefined> =>
  v.nullable(schema);
const path = v.pipe(
  text,
  v.check((value) => isAbsolute(value) && !value.includes('\0'), 'it must be absolute'),
);
const texts = v.pipe(v.array(text), v.maxLength(4096));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const sector = v.nullable(v.picklist([512, 4096]));
const limits = v.strictObject({ operationsPerSecond: orNull(v.number()), bytesPerSecond: orNull(v.number()) });
const externalDisks = v.pipe(v.array(v.strictObject({ role: text, path })), v.maxLength(4096));
const configuration = v.optional(v.unknown());
const moment = v.nullable(v.union([v.strictObject({ lsn: text }), v.strictObject({ timeMs: v.number() })]));
const format = v.nullable(v.picklist(imageFormats));
const nothing = v.strictObject({});
const named = v.strictObject({ name: text });
const restoring = { point: text, at: moment, overwrite: v.boolean(), sync: v.boolean() };
const source = { source: text, at: moment };

type Schemas = { readonly [Name in CommandName]: v.GenericSchema<unknown, RequestOf<Name>> };

/** `pointDisk`, sizes and the like are checked further by the library, as for every caller. */
const schemas: Schemas = {
  'vm.create': v.strictObject({
    name: text,
    disks: externalDisks,
    isManaged: v.boolean(),
    format,
    sectorBytes: sector,
    resourceGroup: orNull(text),
    subscription: orNull(text),
    configuration,
  }),
  'vm.list': nothing,
  'vm.show': named,
  'vm.update': v.strictObject({
    name: text,
    disks: externalDisks,
    sectorBytes: sector,
    removeDisks: texts,
    configuration,
  }),
  'vm.delete': named,
  'disk.create': v.strictObject({ name: text, sizeBytes: count, sectorBytes: sector, limits }),
  'disk.import': v.strictObject({ name: text, path, format, sectorBytes: sector }),
  'disk.clone': v.strictObject({ name: text, pointDisk: text }),
  'disk.grow': v.strictObject({ name: text, sizeBytes: count }),
  'disk.limit': v.strictObject({ name: text, limits }),
  'disk.attach': v.strictObject({ machine: text, name: text, role: orNull(text), limits: orNull(limits) }),
  'disk.detach': named,
  'disk.list': nothing,
  'disk.delete': named,
  capture: v.strictObject({
    machine: text,
    name: orNull(text),
    collection: orNull(text),
    consistency: orNull(v.picklist(['applicationConsistent', 'fileSystemConsistent', 'crashConsistent'])),
    exclude: texts,
    frozen: v.boolean(),
    wait: v.boolean(),
  }),
  list: v.strictObject({ machine: orNull(text) }),
  show: v.strictObject({ reference: text }),
  diff: v.strictObject({
    before: text,
    after: text,
    disk: orNull(text),
    diskBefore: orNull(text),
    granularity: orNull(count),
  }),
  'restore.disk': v.strictObject({ ...restoring, disk: orNull(text), to: path, format }),
  'restore.disks': v.strictObject({ ...restoring, disks: orNull(texts), toDirectory: path, format }),
  'restore.toDisk': v.strictObject({ ...source, disk: orNull(text), name: text }),
  'restore.inPlace': v.strictObject({ ...source, disks: orNull(texts) }),
  'restore.toMachine': v.strictObject({ ...source, name: text }),
  hold: v.strictObject({ point: text, reason: orNull(text) }),
  delete: v.strictObject({ points: texts }),
  status: nothing,
  stats: v.strictObject({ machine: orNull(text) }),
  verify: v.strictObject({ readData: v.boolean() }),
  gc: v.strictObject({ dryRun: v.boolean(), bytesPerSecond: v.optional(count) }),
  reopen: nothing,
  complete: v.strictObject({
    kind: v.picklist(['machine', 'point', 'machine-or-point', 'role', 'disk']),
    words: texts,
  }),
};

/** A line from a client, taken apart; the request of a call is still unchecked. */
export type ReceivedMessage =
  | { readonly hello: { readonly versions: readonly number[] } }
  | { readonly call: { readonly command: string; readonly request: unknown; readonly rows: boolean } }
  | { readonly cancel: { readonly reason: string } };

const message: v.GenericSchema<unknown, ReceivedMessage> = v.union([
  v.strictObject({ hello: v.object({ versions: v.pipe(v.array(v.number()), v.maxLength(64)) }) }),
  v.strictObject({ call: v.strictObject({ command: v.string(), request: v.unknown(), rows: v.boolean() }) }),
  v.strictObject({ cancel: v.object({ reason: v.pipe(v.string(), v.maxLength(1024)) }) }),
]);

/** Takes a line apart. Throws `ProtocolError`. */
export function receivedMessage(line: string): ReceivedMessage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw error instanceof SyntaxError ? new ProtocolError('a line is not JSON') : error;
  }
  const parsed = v.safeParse(message, value);
  if (parsed.success) return parsed.output;
  throw new ProtocolError('a message is none of hello, call, cancel');
}

/** Whether there is a command of this name. */
export function isCommand(name: string): name is CommandName {
  return Object.hasOwn(schemas, name);
}

/** The request of a command, checked. Throws `ProtocolError`, which the connection survives. */
export function checkedRequest<Name extends CommandName>(name: Name, request: unknown): RequestOf<Name> {
  const parsed = v.safeParse(schemas[name], request);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const where = v.getDotPath(issue) ?? 'the request';
  throw new ProtocolError(`${name}: ${where}: ${issue.message}`);
}
