/**
 * Checks what callers pass and turns it into plans with every default filled in.
 *
 * Nothing is asked of the store here, so a call with options out of range fails before it does anything.
 */

import { availableParallelism } from 'node:os';
import path from 'node:path';

import { notJsonAt, isJson, type Json } from '../catalog/json.js';
import type { CapturePlan } from '../coordinator/capture.js';
import { configurationBytesMax, pathBytesMax } from '../coordinator/limits.js';
import type { DiskPlan, MachineChangePlan, MachinePlan } from '../coordinator/machines.js';
import type { CollectRequest, Control, CreateRequest, OpenRequest } from '../native/engine.js';
import {
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
  CreateStoreOptions,
  CreateVirtualMachineRequest,
  DiffOptions,
  DiskRequest,
  LongCallOptions,
  OpenStoreOptions,
  ReadOptions,
  RestoreOptions,
  VerifyOptions,
  VirtualMachineChange,
} from './requests.js';
import { consistencyModes } from './units.js';

const chunkBytesAllowed = [16384, 65536, 262144, 1048576] as const;
const threadsMax = 256;
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
  const compression = oneOf('compression', given['compression'] ?? 'zstd', ['zstd', 'none'] as const);
  const level = given['compressionLevel'];
  return {
    path: absolutePath('path', given['path']),
    chunkBytes: oneOf('chunkBytes', given['chunkBytes'] ?? 65536, chunkBytesAllowed),
    compression,
    compressionLevel:
      compression === 'none'
        ? wholeNumber('compressionLevel', level ?? 0, 0, 0)
        : wholeNumber('compressionLevel', level ?? 2, 1, 19),
  };
}

/** Checks the options of `openStore`. */
export function openStorePlan(options: OpenStoreOptions): OpenRequest {
  const given = members('options', options, ['path', 'readOnly', 'threads']);
  return {
    path: absolutePath('path', given['path']),
    readOnly: truth('readOnly', given['readOnly'], false),
    threads: wholeNumber('threads', given['threads'] ?? Math.min(availableParallelism(), threadsMax), 1, threadsMax),
  };
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
  const given: Members = members(option, value, ['role', 'external', 'sectorBytes'] satisfies (keyof DiskRequest)[]);
  return {
    role: text(`${option}.role`, given['role']),
    source: absolutePath(`${option}.external`, given['external']),
    sectorBytes: oneOf(`${option}.sectorBytes`, given['sectorBytes'] ?? 512, sectorBytesAllowed),
  };
}

/** Checks a request for a new machine; names are checked where they are looked up. */
export function machinePlan(request: CreateVirtualMachineRequest): MachinePlan {
  const given = members('request', request, ['name', 'disks', 'configuration', 'subscription', 'resourceGroup']);
  const subscription = text('subscription', given['subscription'] ?? zeroGuid);
  if (!guidPattern.test(subscription)) throw invalid('subscription', subscription, 'a GUID');
  return {
    name: text('name', given['name']),
    subscription: subscription.toLowerCase(),
    resourceGroup: text('resourceGroup', given['resourceGroup'] ?? 'default'),
    configuration: configuration(given['configuration'] ?? null),
    disks: list('disks', given['disks'], disk),
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

/** A restore with its options checked. */
export interface RestorePlan {
  readonly point: string;
  readonly role: string;
  readonly target: { readonly targetPath: string; readonly overwrite: boolean; readonly sync: boolean };
  readonly control: Control;
}

/** Checks the options of `restore`. */
export function restorePlan(point: string, options: RestoreOptions): RestorePlan {
  const given = members('options', options, ['disk', 'to', 'overwrite', 'sync', ...longCall]);
  return {
    point: text('point', point),
    role: text('disk', given['disk']),
    target: {
      targetPath: absolutePath('to', given['to']),
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
  const { bytesPerSecond } = given;
  const request = {
    dryRun: truth('dryRun', given['dryRun'], false),
    bytesPerSecond:
      bytesPerSecond === undefined ? null : wholeNumber('bytesPerSecond', bytesPerSecond, 1, Number.MAX_SAFE_INTEGER),
  };
  return { request, control: control(options) };
}
