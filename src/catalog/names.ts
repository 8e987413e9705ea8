/**
 * The rules of names: machines, disks and their roles, collections, points, resource groups.
 *
 * 1 to 80 of `A-Z a-z 0-9 _ . -` with a letter or digit at both ends; kept as given, compared without case. The
 * characters are ASCII, so folding is `toLowerCase` and depends on no locale.
 */

import { StillpointError } from '../store/errors.js';

/** The longest name, in characters. */
export const nameLengthMax = 80;

const namePattern = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,78}[A-Za-z0-9])?$/;

/** What is named, as messages say it. */
export type Named = 'machine' | 'disk' | 'role' | 'collection' | 'point' | 'resource group';

/** Whether a text keeps to the rules. */
export function isName(text: string): boolean {
  return namePattern.test(text);
}

/** The name itself, or `NAME_INVALID`. */
export function checkName(what: Named, text: string): string {
  if (isName(text)) return text;
  const shown = text.length > nameLengthMax ? `${text.slice(0, nameLengthMax)}... (${text.length} characters)` : text;
  throw new StillpointError('NAME_INVALID', `${JSON.stringify(shown)} is not a name for a ${what}`, {
    what,
    name: shown,
  });
}

/** What two names are compared by. */
export function folded(name: string): string {
  return name.toLowerCase();
}

/** Whether two names are the same name. */
export function isSameName(left: string, right: string): boolean {
  return folded(left) === folded(right);
}

/** The name, or the first of `name-2`, `name-3` ... that is not taken; shortened where it would be too long. */
export function freeName(name: string, isTaken: (name: string) => boolean): string {
  if (!isTaken(name)) return name;
  for (let number = 2; ; number += 1) {
    const suffix = `-${number}`;
    const candidate = name.slice(0, nameLengthMax - suffix.length) + suffix;
    if (!isTaken(candidate)) return candidate;
  }
}
