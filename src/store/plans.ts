/**
 * Checks what callers pass and turns it into plans with every default filled in.
 *
 * Nothing is asked of the store here, so a call with options out of range fails before it does anything.
 */

import { availableParallelism } from 'node:os';
import path from 'node:path';

import { notJsonAt, isJson, type Json } from '../catalog/json.js';
import type { CapturePlan } from '../coordinator/begin-capture.js';
import { configurationBytesMax, diskBytesMax, pathBytesMax } from '../coordinator/limits.js';
import type { DiskPlan, MachineChangePlan, MachinePlan } from '../coordinator/machines.js';
import type { ManagedMachinePlan, NewDisk } from '../coordinator/managed-disks.js';
import type { SourceName } from '../coordinator/sources.js';
import { imageFormats, type ImageFormat } from '../images/formats.js';
import type {
  CollectRequest,
  Control,
  CreateRequest,
  NbdListen,
  NbdRequest,
  NbdTls,
  OpenRequest,
} from '../native/engine.js';
import type { EventOptions } from './events.js';
import type { ImportedContent, Planned } from './images.js';
import type { NbdOptions } from './nbd.js';
import { preSharedKeysIn } from './pre-shared-keys.js';
import {
  diskLimits,
  callback,
  invalid,
  list,
  members,
  oneOf,
  pathText,
  signal,
  text,
  truth,
  wholeNumber,
  type Members,
} from './checks.js';
import type {
  CaptureOptions,
  CollectOptions,
  CreateDiskRequest,
  CreateStoreOptions,
  CreateVirtualMachineRequest,
  DiffOptions,
  ExternalDiskRequest,
  ImportDiskRequest,
  LongCallOptions,
  OpenStoreOptions,
  ReadOptions,
  RestoreDisksOptions,
  RestoreInPlaceOptions,
  RestoreOptions,
  RestoreToDiskOptions,
  RestoreToMachineOptions,
  StatisticsOptions,
  VerifyOptions,
  VirtualMachineChange,
} from './requests.js';
import type { TargetDirectory } from './target-directory.js';
import { consistencyModes } from './units.js';

const chunkBytesAllowed = [16384, 65536, 262144, 1048576] as const;
const threadsMax = 256;
const chunkCacheBytesMax = 2 ** 40;
const sectorBytesAllowed = [512, 4096] as const;
const zeroGuid = '00000000-0000-0000-0000-000000000000';
const guidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const longCall = ['signal', 'onProgress'] as const;

/** An absolute path; a relative one is resolved now, so that a later change of directory changes nothing. */
function absolutePath(option: string, value: unknown): string {
  return path.resolve(pathText(option, value, pathBytesMax));
}

function control(options: LongCallOptions): Control {
  const abort = signal(options.signal);
  const onProgress = callback('onProgress', options.onProgress);
  return {
    ...(abort === undefined ? {} : { signal: abort }),
    ...(onProgress === undefined ? {} : { onProgress }),
  };
}

/** Checks the options of `createStore`. */
export function createStorePlan(options: CreateStoreOptions): CreateRequest {
  const given = members('options', options, ['path', 'chunkBytes', 'compression', 'compressionLevel']);
  const compression = oneOf('compression', given['compression'] ?? 'zstd', ['zstd', 'lz4', 'none'] as const);
  const level = given['compressionLevel'];
  return {
    path: absolutePath('path', given['path']),
    chunkBytes: oneOf('chunkBytes', given['chunkBytes'] ?? 65536, chunkBytesAllowed),
    compression,
    compressionLevel:
      compression === 'zstd'
        ? wholeNumber('compressionLevel', level ?? 2, 1, 19)
        : wholeNumber('compressionLevel', level ?? 0, 0, 0),
  };
}

/** Checks the options of `openStore`. */
export function openStorePlan(options: OpenStoreOptions): OpenRequest {
  const given = members('options', options, ['path', 'readOnly', 'threads', 'copyBytesPerSecond', 'chunkCacheBytes']);
  return {
    path: absolutePath('path', given['path']),
    readOnly: truth('readOnly', given['readOnly'], false),
    threads: wholeNumber('threads', given['threads'] ?? Math.min(availableParallelism(), threadsMax), 1, threadsMax),
    copyBytesPerSecond: rate('copyBytesPerSecond', given['copyBytesPerSecond']),
    chunkCacheBytes: cacheBytes('chunkCacheBytes', given['chunkCacheBytes']),
  };
}

/** A number of bytes a second; null where there is no limit. */
function rate(option: string, value: unknown): number | null {
  return value === undefined ? null : wholeNumber(option, value, 1, Number.MAX_SAFE_INTEGER);
}

/** Bytes of a cache; null for the usual one. */
function cacheBytes(option: string, value: unknown): number | null {
  return value === undefined ? null : wholeNumber(option, value, 0, chunkCacheBytesMax);
}

function configuration(value: unknown): Json {
  if (!isJson(value)) throw invalid(`configuration at ${notJsonAt(value) ?? '$'}`, value, 'a JSON value');
  const asText = JSON.stringify(value);
  if (Buffer.byteLength(asText) > configurationBytesMax) {
    throw invalid('configuration', value, `a JSON value of at most ${configurationBytesMax} bytes as text`);
  }
  // A copy of its own: the caller's object may change later, the configuration may not.
  const copy: unknown = JSON.parse(asText);
  return isJson(copy) ? copy : null;
}

function disk(option: string, value: unknown): DiskPlan {
  const known = ['role', 'external', 'sectorBytes'] satisfies (keyof ExternalDiskRequest)[];
  const given: Members = members(option, value, known);
  return {
    role: text(`${option}.role`, given['role']),
    source: absolutePath(`${option}.external`, given['external']),
    sectorBytes: oneOf(`${option}.sectorBytes`, given['sectorBytes'] ?? 512, sectorBytesAllowed),
  };
}

/** A machine to create, of either kind. */
export type AnyMachinePlan =
  | { readonly kind: 'external'; readonly plan: MachinePlan }
  | { readonly kind: 'managed'; readonly plan: PlannedMachine };

type NewMachineDisk = ManagedMachinePlan['make'][number];

/** A managed machine to create, whose images are yet to be looked at. */
export type PlannedMachine = Omit<ManagedMachinePlan, 'make'> & { readonly make: readonly Planned<NewMachineDisk>[] };

/** Checks a request for a new machine; names are checked where they are looked up. */
export function machinePlan(request: CreateVirtualMachineRequest): AnyMachinePlan {
  const given = members('request', request, ['name', 'disks', 'configuration', 'subscription', 'resourceGroup']);
  const rest = {
    name: text('name', given['name']),
    ...placement(given),
    configuration: configuration(given['configuration'] ?? null),
  };
  const disks = given['disks'];
  if (!Array.isArray(disks)) {
    if (typeof disks !== 'object' || disks === null) {
      throw invalid('disks', disks, 'an array of disks, or an object of names of disks by role');
    }
    const attach = Object.entries(disks).map(([role, name]) => ({ role, disk: text(`disks.${role}`, name) }));
    return { kind: 'managed', plan: { ...rest, attach, make: [] } };
  }
  const isManaged = disks.some((each: unknown) => {
    return typeof each === 'object' && each !== null && ('disk' in each || 'import' in each);
  });
  if (!isManaged) return { kind: 'external', plan: { ...rest, disks: list('disks', disks, disk) } };
  const managed = list('disks', disks, managedDisk);
  return {
    kind: 'managed',
    plan: {
      ...rest,
      attach: managed.flatMap((each) => ('disk' in each ? [each] : [])),
      make: managed.flatMap((each) => ('disk' in each ? [] : [each])),
    },
  };
}

/** Where a machine is listed. */
function placement(given: Members): { subscription: string; resourceGroup: string } {
  const subscription = text('subscription', given['subscription'] ?? zeroGuid);
  if (!guidPattern.test(subscription)) throw invalid('subscription', subscription, 'a GUID');
  return {
    subscription: subscription.toLowerCase(),
    resourceGroup: text('resourceGroup', given['resourceGroup'] ?? 'default'),
  };
}

function managedDisk(option: string, value: unknown): ManagedMachinePlan['attach'][number] | Planned<NewMachineDisk> {
  const given = members(option, value, ['role', 'disk', 'import', 'format', 'sectorBytes']);
  const role = text(`${option}.role`, given['role']);
  if (given['disk'] !== undefined) {
    if (given['import'] !== undefined) throw invalid(`${option}.import`, given['import'], 'left out beside disk');
    if (given['sectorBytes'] !== undefined) {
      throw invalid(`${option}.sectorBytes`, given['sectorBytes'], 'left out beside disk, which has its own');
    }
    if (given['format'] !== undefined) throw invalid(`${option}.format`, given['format'], 'left out beside disk');
    return { role, disk: text(`${option}.disk`, given['disk']) };
  }
  const content = imported(`${option}.import`, given['import'], `${option}.format`, given['format']);
  const sectorBytes = oneOf(`${option}.sectorBytes`, given['sectorBytes'] ?? 512, sectorBytesAllowed);
  return { role, sectorBytes, content };
}

function imported(pathOption: string, path: unknown, formatOption: string, format: unknown): ImportedContent {
  return {
    kind: 'image',
    path: absolutePath(pathOption, path),
    format: format === undefined ? null : oneOf(formatOption, format, imageFormats),
  };
}

/** Checks a change of a machine. */
export function machineChangePlan(change: VirtualMachineChange): MachineChangePlan {
  const given = members('change', change, ['configuration', 'addDisks', 'removeDisks', 'paths']);
  const value = given['configuration'];
  const paths = given['paths'] ?? {};
  if (typeof paths !== 'object' || Array.isArray(paths)) throw invalid('paths', paths, 'an object of paths by role');
  return {
    configuration: value === undefined ? null : { value: configuration(value) },
    addDisks: list('addDisks', given['addDisks'] ?? [], disk),
    removeDisks: list('removeDisks', given['removeDisks'] ?? [], text),
    moveDisks: Object.entries(paths).map(([role, source]) => ({ role, source: absolutePath(`paths.${role}`, source) })),
  };
}

/** Checks the options of `capture`. */
export function capturePlan(machine: string, options: CaptureOptions): { plan: CapturePlan; control: Control } {
  const given = members('options', options, ['name', 'collection', 'consistency', 'exclude', 'frozen', ...longCall]);
  const { name, consistency } = given;
  const plan: CapturePlan = {
    machine: text('machine', machine),
    name: name === undefined ? null : text('name', name),
    collection: text('collection', given['collection'] ?? 'default'),
    requested: consistency === undefined ? null : oneOf('consistency', consistency, consistencyModes),
    exclude: list('exclude', given['exclude'] ?? [], text),
    frozen: truth('frozen', given['frozen'], false),
  };
  return { plan, control: control(options) };
}

/** A diff with its options checked. */
export interface DiffPlan {
  readonly before: { readonly point: string; readonly role: string };
  readonly after: { readonly point: string; readonly role: string };
  /** Null: whole chunks. */
  readonly granularityBytes: number | null;
  readonly control: Control;
}

/** Checks the options of `diff`. */
export function diffPlan(before: string, after: string, options: DiffOptions, chunkBytes: number): DiffPlan {
  const given = members('options', options, ['disk', 'diskBefore', 'granularity', ...longCall]);
  const role = text('disk', given['disk']);
  const { granularity } = given;
  return {
    before: { point: text('before', before), role: text('diskBefore', given['diskBefore'] ?? role) },
    after: { point: text('after', after), role },
    granularityBytes: granularity === undefined ? null : checkedGranularity(granularity, chunkBytes),
    control: control(options),
  };
}

function checkedGranularity(value: unknown, chunkBytes: number): number {
  const allowed: number[] = [];
  for (let bytes = 512; bytes <= chunkBytes; bytes *= 2) allowed.push(bytes);
  return oneOf('granularity', value, allowed);
}

/** A read with its options checked. */
export interface ReadPlan {
  readonly point: string;
  readonly role: string;
  readonly offset: number;
  readonly length: number;
}

/** Checks the options of `read`. */
export function readPlan(point: string, options: ReadOptions): ReadPlan {
  const given = members('options', options, ['disk', 'offset', 'length']);
  return {
    point: text('point', point),
    role: text('disk', given['disk']),
    offset: wholeNumber('offset', given['offset'], 0, Number.MAX_SAFE_INTEGER),
    length: wholeNumber('length', given['length'], 0, Number.MAX_SAFE_INTEGER),
  };
}

const lsnPattern = /^(?:0|[1-9][0-9]{0,19})$/;

/** What is restored from: a point, or with `at` a machine at a moment. */
function sourceName(name: string, at: unknown): SourceName {
  if (at === undefined) return { name: text('point', name), at: null };
  const given = members('at', at, ['lsn', 'timeMs']);
  const { lsn, timeMs } = given;
  if ((lsn === undefined) === (timeMs === undefined)) throw invalid('at', at, 'an object with either lsn or timeMs');
  if (timeMs !== undefined) {
    const time = wholeNumber('at.timeMs', timeMs, -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    return { name: text('machine', name), at: { timeMs: time } };
  }
  const digits = text('at.lsn', lsn);
  if (!lsnPattern.test(digits) || BigInt(digits) >= 1n << 64n)
    throw invalid('at.lsn', lsn, 'an LSN, as decimal digits');
  return { name: text('machine', name), at: { lsn: digits } };
}

/** A restore with its options checked. */
export interface RestorePlan {
  readonly source: SourceName;
  readonly role: string;
  readonly target: { readonly targetPath: string; readonly overwrite: boolean; readonly sync: boolean };
  readonly format: ImageFormat;
  readonly control: Control;
}

/** Checks the options of `restore`. */
export function restorePlan(point: string, options: RestoreOptions): RestorePlan {
  const given = members('options', options, ['disk', 'to', 'format', 'overwrite', 'sync', 'at', ...longCall]);
  return {
    source: sourceName(point, given['at']),
    role: text('disk', given['disk']),
    target: {
      targetPath: absolutePath('to', given['to']),
      overwrite: truth('overwrite', given['overwrite'], false),
      sync: truth('sync', given['sync'], true),
    },
    format: oneOf('format', given['format'] ?? 'raw', imageFormats),
    control: control(options),
  };
}

/** A restore of several disks with its options checked. */
export interface RestoreDisksPlan {
  readonly source: SourceName;
  /** Null: all. */
  readonly roles: readonly string[] | null;
  readonly target: TargetDirectory;
  readonly control: Control;
}

/** Checks the options of `restoreDisks`. */
export function restoreDisksPlan(point: string, options: RestoreDisksOptions): RestoreDisksPlan {
  const given = members('options', options, ['directory', 'disks', 'format', 'overwrite', 'sync', 'at', ...longCall]);
  const { disks } = given;
  const roles = disks === undefined ? null : list('disks', disks, text);
  if (roles?.length === 0) throw invalid('disks', disks, 'left out, or at least one role');
  return {
    source: sourceName(point, given['at']),
    roles,
    target: {
      directory: absolutePath('directory', given['directory']),
      format: oneOf('format', given['format'] ?? 'raw', imageFormats),
      overwrite: truth('overwrite', given['overwrite'], false),
      sync: truth('sync', given['sync'], true),
    },
    control: control(options),
  };
}

/** Checks the options of `verify`. */
export function verifyPlan(options: VerifyOptions): { readData: boolean; control: Control } {
  const given = members('options', options, ['readData', ...longCall]);
  return { readData: truth('readData', given['readData'], false), control: control(options) };
}

/** Checks the options of `collect`. */
export function collectPlan(options: CollectOptions): { request: CollectRequest; control: Control } {
  const given = members('options', options, ['dryRun', 'bytesPerSecond', ...longCall]);
  const request = {
    dryRun: truth('dryRun', given['dryRun'], false),
    bytesPerSecond: rate('bytesPerSecond', given['bytesPerSecond']),
  };
  return { request, control: control(options) };
}

/** Checks the options of `statistics`. */
export function statisticsPlan(options: StatisticsOptions): { machine: string | null; control: Control } {
  const given = members('options', options, ['machine', ...longCall]);
  const { machine } = given;
  return { machine: machine === undefined ? null : text('machine', machine), control: control(options) };
}

/** Checks a request for a new disk. */
export function createDiskPlan(request: CreateDiskRequest): NewDisk {
  const given = members('request', request, ['name', 'sizeBytes', 'sectorBytes', 'limits']);
  const name = text('name', given['name']);
  const sectorBytes = oneOf('sectorBytes', given['sectorBytes'] ?? 512, sectorBytesAllowed);
  const sizeBytes = wholeNumber('sizeBytes', given['sizeBytes'], sectorBytes, diskBytesMax);
  if (sizeBytes % sectorBytes !== 0) throw invalid('sizeBytes', sizeBytes, `a multiple of ${sectorBytes}`);
  const limits = given['limits'] === undefined ? null : diskLimits('limits', given['limits']);
  return { name, role: name, sectorBytes, content: { kind: 'zeros', sizeBytes }, limits };
}

/** Checks a request for a disk with the content of an image. */
export function importDiskPlan(request: ImportDiskRequest): { disk: Planned<NewDisk>; control: Control } {
  const given = members('request', request, ['name', 'path', 'format', 'sectorBytes', ...longCall]);
  const name = text('name', given['name']);
  const sectorBytes = oneOf('sectorBytes', given['sectorBytes'] ?? 512, sectorBytesAllowed);
  const content = imported('path', given['path'], 'format', given['format']);
  return { disk: { name, role: name, sectorBytes, content }, control: control(request) };
}

/** Takes `POINT/DISK` apart. */
export function pointDiskPlan(pointDisk: string): { source: SourceName; role: string } {
  const whole = text('pointDisk', pointDisk);
  const at = whole.lastIndexOf('/');
  const role = whole.slice(at + 1);
  if (at < 1 || role === '') throw invalid('pointDisk', whole, 'VM/POINT/DISK or VM/COLLECTION/POINT/DISK');
  return { source: sourceName(whole.slice(0, at), undefined), role };
}

/** Checks the options of `restoreToDisk`. */
export function restoreToDiskPlan(
  point: string,
  options: RestoreToDiskOptions,
): { source: SourceName; role: string; name: string } {
  const given = members('options', options, ['disk', 'name', 'at']);
  const name = text('name', given['name']);
  return { source: sourceName(point, given['at']), role: text('disk', given['disk']), name };
}

/** Checks the options of `restoreInPlace`. */
export function restoreInPlacePlan(
  point: string,
  options: RestoreInPlaceOptions,
): { source: SourceName; roles: readonly string[] | null } {
  const given = members('options', options, ['disks', 'at']);
  const { disks } = given;
  const roles = disks === undefined ? null : list('disks', disks, text);
  if (roles?.length === 0) throw invalid('disks', disks, 'left out, or at least one role');
  return { source: sourceName(point, given['at']), roles };
}

/** Checks the options of `restoreToMachine`. */
export function restoreToMachinePlan(
  point: string,
  options: RestoreToMachineOptions,
): { source: SourceName; name: string; subscription: string; resourceGroup: string } {
  const given = members('options', options, ['name', 'subscription', 'resourceGroup', 'at']);
  return { source: sourceName(point, given['at']), name: text('name', given['name']), ...placement(given) };
}

/** Checks the options of `events`. */
export function eventsPlan(options: EventOptions): { intervalMs: number; signal: AbortSignal | undefined } {
  const given = members('options', options, ['signal', 'intervalMs']);
  const intervalMs = wholeNumber('intervalMs', given['intervalMs'] ?? 1000, 10, 3_600_000);
  return { intervalMs, signal: signal(given['signal']) };
}

/** Checks the options of `serveNbd`. */
export function nbdPlan(options: NbdOptions): NbdRequest {
  const given = members('options', options, ['listen', 'clientsMax', 'tls', 'allowPlainTcp']);
  const listen = list('listen', given['listen'], listenPlan);
  if (listen.length === 0) throw invalid('listen', [], 'at least one place to listen at');
  return {
    listen,
    clientsMax: wholeNumber('clientsMax', given['clientsMax'] ?? 256, 1, 65_536),
    tls: given['tls'] === undefined ? null : tlsPlan(given['tls']),
    allowPlain: truth('allowPlainTcp', given['allowPlainTcp'], false),
  };
}

function listenPlan(option: string, value: unknown): NbdListen {
  const place = members(option, value, ['unix', 'host', 'port', 'fd']);
  if (place['unix'] !== undefined) return { path: absolutePath(`${option}.unix`, place['unix']) };
  if (place['fd'] !== undefined) return { fd: wholeNumber(`${option}.fd`, place['fd'], 3, 2 ** 31 - 1) };
  const host = text(`${option}.host`, place['host']);
  return { host, port: wholeNumber(`${option}.port`, place['port'], 0, 65_535) };
}

function tlsPlan(value: unknown): NbdTls {
  const given = members('tls', value, ['certificate', 'key', 'clientAuthorities', 'preSharedKeys']);
  const { preSharedKeys, ...certificate } = given;
  if (preSharedKeys !== undefined) {
    if (Object.keys(certificate).length > 0) {
      throw invalid('tls', value, 'a certificate or preSharedKeys, not both');
    }
    return { preSharedKeys: preSharedKeysIn('tls.preSharedKeys', preSharedKeys) };
  }
  const authorities = given['clientAuthorities'];
  return {
    certificate: text('tls.certificate', given['certificate']),
    key: text('tls.key', given['key']),
    ...(authorities === undefined ? {} : { clientAuthorities: text('tls.clientAuthorities', authorities) }),
  };
}

/** Checks the options of calls that have no others than those of every long call. */
export function longCallPlan(options: LongCallOptions): Control {
  members('options', options, longCall);
  return control(options);
}
