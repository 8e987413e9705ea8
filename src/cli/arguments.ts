/** Turns the words of a command line into values. Each parser throws commander's `InvalidArgumentError`. */

import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import type { ExternalDisk } from '../control/commands/machines.js';
import { imageFormats } from '../images/formats.js';
import type { MomentOption } from '../index.js';
import type { ConsistencyMode } from '../store/units.js';

const unitBytes: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
};

/** `65536`, `64KiB`, `1.5 GiB`. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/iu.exec(text.trim());
  const unit = unitBytes[(match?.[2] ?? '?').toLowerCase()];
  const bytes = Number(match?.[1]) * (unit ?? Number.NaN);
  if (!Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError('A size is a number of bytes, or one with KiB, MiB, GiB or TiB.');
  }
  return bytes;
}

function oneOf(bytes: number, allowed: readonly number[], names: string): number {
  if (!allowed.includes(bytes)) throw new InvalidArgumentError(`Choose ${names}.`);
  return bytes;
}

/** A chunk size that a store can have. */
export function parseChunkSize(text: string): number {
  return oneOf(parseSize(text), [16_384, 65_536, 262_144, 1_048_576], '16KiB, 64KiB, 256KiB or 1MiB');
}

/** Memory for a cache: 0 to 1 TiB. */
export function parseCacheSize(text: string): number {
  const bytes = parseSize(text);
  if (bytes > 1024 ** 4) throw new InvalidArgumentError('A cache has at most 1 TiB.');
  return bytes;
}

/** Bytes a second, at least one. */
export function parseRate(text: string): number {
  const bytes = parseSize(text);
  if (bytes < 1) throw new InvalidArgumentError('A rate is at least one byte a second.');
  return bytes;
}

/** Operations a second, at least one. */
export function parseOperationRate(text: string): number {
  const rate = Number(text);
  if (!/^\d+$/u.test(text) || !Number.isSafeInteger(rate) || rate < 1) {
    throw new InvalidArgumentError('A rate is a whole number of operations a second, at least one.');
  }
  return rate;
}

/** `--at`: an LSN, which is digits alone, or a time as ISO 8601 has it; without a zone it is local time. */
export function parseMoment(text: string): MomentOption {
  if (/^\d+$/u.test(text)) return { lsn: text.replace(/^0+(?=\d)/u, '') };
  const timeMs = /^\d{4}-\d{2}-\d{2}/u.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isSafeInteger(timeMs)) {
    throw new InvalidArgumentError('A moment is an LSN, as digits, or a time such as 2026-11-23T04:28:14.250Z.');
  }
  return { timeMs };
}

/** `--format`: formats of images. */
export function formatOption(description: string): Option {
  return new Option('--format <format>', description).choices(imageFormats);
}

/** A sector size that a disk can have. */
export function parseSectorSize(text: string): 512 | 4096 {
  const bytes = oneOf(parseSize(text), [512, 4096], '512 or 4096');
  return bytes === 512 ? 512 : 4096;
}

/** A granularity that a diff can have; that it is at most a chunk is for the store to say. */
export function parseGranularity(text: string): number {
  const bytes = parseSize(text);
  const exponent = Math.log2(bytes);
  if (bytes < 512 || bytes > 1_048_576 || !Number.isInteger(exponent)) {
    throw new InvalidArgumentError('A granularity is a power of two from 512 to the chunk size.');
  }
  return bytes;
}

/** A whole number from `least` to `most`. */
export function parseWhole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/u.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`It is a whole number from ${least} to ${most}.`);
    }
    return value;
  };
}

/** The words of `--consistency`. */
export const modes: Readonly<Record<'crash' | 'file-system' | 'application', ConsistencyMode>> = {
  crash: 'crashConsistent',
  'file-system': 'fileSystemConsistent',
  application: 'applicationConsistent',
};

/** Gathers the `ROLE=PATH` of an option that can be given several times; paths are left as typed. */
export function gatherDisk(text: string, earlier: readonly ExternalDisk[] = []): ExternalDisk[] {
  const at = text.indexOf('=');
  const role = text.slice(0, at);
  const path = text.slice(at + 1);
  if (at < 1 || path === '')
    throw new InvalidArgumentError('A disk is named ROLE=PATH, for example os=/images/os.raw.');
  return [...earlier, { role, path }];
}

function parseHostPort(text: string): { host: string; port: number } | null {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/u.exec(text);
  const [, bracketed, plain, digits] = match ?? [];
  const host = bracketed ?? plain ?? '';
  const port = Number(digits);
  const isHost = bracketed === undefined ? host !== '' : isIP(bracketed) === 6;
  return isHost && port <= 65_535 ? { host, port } : null;
}

/** `HOST:PORT`, with an IPv6 address in brackets; a port alone is one of this machine only. */
export function parseHttpAddress(text: string): { host: string; port: number } {
  const address = parseHostPort(/^\d+$/u.test(text) ? `127.0.0.1:${text}` : text);
  if (address === null) throw new InvalidArgumentError('An address is HOST:PORT, for example 127.0.0.1:9464.');
  return address;
}

/** `unix:PATH` or `tcp:HOST:PORT`; a path is left as typed. */
export type NbdPlace = { readonly unix: string } | { readonly host: string; readonly port: number };

/** Gathers the addresses of an option that can be given several times. */
export function gatherNbdPlace(text: string, earlier: readonly NbdPlace[] = []): NbdPlace[] {
  const unix = /^unix:(.+)$/u.exec(text)?.[1];
  if (unix !== undefined) return [...earlier, { unix }];
  const address = text.startsWith('tcp:') ? parseHostPort(text.slice(4)) : null;
  if (address === null) {
    throw new InvalidArgumentError('An address is unix:PATH or tcp:HOST:PORT, for example tcp:127.0.0.1:10809.');
  }
  return [...earlier, address];
}

/** Gathers the values of an option that can be given several times. */
export function gatherWord(text: string, earlier: readonly string[] = []): string[] {
  return [...earlier, text];
}

/** Makes the paths of disks absolute. */
export function absoluteDisks(disks: readonly ExternalDisk[], workingDirectory: string): ExternalDisk[] {
  return disks.map(({ role, path }) => ({ role, path: resolve(workingDirectory, path) }));
}
