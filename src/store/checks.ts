/**
 * Checks of single options: each takes what came and gives it back with its type, or throws `ARGUMENT_INVALID` that
 * names the option, what was received, and what is allowed.
 */

import type { DiskLimits } from '../native/engine.js';
import { StillpointError } from './errors.js';

/** Members of an object that was passed as options. */
export type Members = Readonly<Record<string, unknown>>;

/** The error of an option. */
export function invalid(option: string, received: unknown, allowed: string): StillpointError {
  const shown = shownAs(received);
  return new StillpointError('ARGUMENT_INVALID', `the option ${option} is ${shown}; it must be ${allowed}`, {
    option,
    received: shown,
    allowed,
  });
}

function shownAs(value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'string') return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}...` : value);
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** An object whose members are all known; a misspelt option would otherwise be a default without a word. */
export function members(what: string, value: unknown, allowed: readonly string[]): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(what, value, 'an object');
  const known: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    if (!allowed.includes(name))
      throw invalid(`${what}.${name}`, member, `left out: ${what} has ${allowed.join(', ')}`);
    known[name] = member;
  }
  return known;
}

/** A text that is not empty. */
export function text(option: string, value: unknown): string {
  if (typeof value !== 'string' || value === '') throw invalid(option, value, 'a text that is not empty');
  return value;
}

/** A path: not empty, without zero bytes, of a length that the system takes. */
export function pathText(option: string, value: unknown, bytesMax: number): string {
  const path = text(option, value);
  if (path.includes('\0') || Buffer.byteLength(path) >= bytesMax) {
    throw invalid(option, value, `a path of less than ${bytesMax} bytes without zero bytes`);
  }
  return path;
}

/** True or false. */
export function truth(option: string, value: unknown, whenMissing: boolean): boolean {
  if (value === undefined) return whenMissing;
  if (typeof value !== 'boolean') throw invalid(option, value, 'true or false');
  return value;
}

/** A whole number within bounds, both included. */
export function wholeNumber(option: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
    throw invalid(option, value, `a whole number from ${min} to ${max}`);
  }
  return value;
}

/** One of a few values. */
export function oneOf<T extends string | number>(option: string, value: unknown, allowed: readonly T[]): T {
  const match = allowed.find((each) => each === value);
  if (match === undefined) throw invalid(option, value, `one of ${allowed.join(', ')}`);
  return match;
}

/** An array, each element checked under its own name. */
export function list<T>(option: string, value: unknown, element: (option: string, value: unknown) => T): T[] {
  if (!Array.isArray(value)) throw invalid(option, value, 'an array');
  return value.map((each: unknown, index) => element(`${option}[${index}]`, each));
}

/** A signal, or nothing. */
export function signal(value: unknown): AbortSignal | undefined {
  if (value === undefined || value instanceof AbortSignal) return value;
  throw invalid('signal', value, 'an AbortSignal');
}

/** A function, or nothing. */
export function callback<T>(option: string, value: T): T {
  if (value !== undefined && typeof value !== 'function') throw invalid(option, value, 'a function');
  return value;
}

/** What a disk may have a second; what is left out is not limited. */
export function diskLimits(option: string, value: unknown): DiskLimits {
  const given = members(option, value, ['operationsPerSecond', 'bytesPerSecond']);
  const rate = (name: keyof DiskLimits): number | null => {
    const asked = given[name] ?? null;
    return asked === null ? null : wholeNumber(`${option}.${name}`, asked, 1, Number.MAX_SAFE_INTEGER);
  };
  return { operationsPerSecond: rate('operationsPerSecond'), bytesPerSecond: rate('bytesPerSecond') };
}
