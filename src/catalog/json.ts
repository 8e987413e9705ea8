/** JSON values: what a machine's configuration may be. */

/** Any JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Nesting beyond this is taken for a cycle; no configuration is as deep. */
const depthMax = 100;

/** Where a value stops being JSON, as a path such as `$.disks[2].size`; null when all of it is. */
export function notJsonAt(value: unknown, path = '$', depth = 0): string | null {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return null;
  if (typeof value === 'number') return Number.isFinite(value) ? null : path;
  if (typeof value !== 'object' || depth === depthMax) return path;
  if (Array.isArray(value)) {
    // By index: holes count as undefined, and `every` would skip them.
    for (let index = 0; index < value.length; index += 1) {
      const found = notJsonAt(value[index], `${path}[${index}]`, depth + 1);
      if (found !== null) return found;
    }
    return null;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // Dates, maps and class instances would turn into something else on their way through JSON.
  if (prototype !== Object.prototype && prototype !== null) return path;
  for (const [name, member] of Object.entries(value)) {
    const found = notJsonAt(member, `${path}.${name}`, depth + 1);
    if (found !== null) return found;
  }
  return null;
}

/** Whether all of a value is JSON. */
export function isJson(value: unknown): value is Json {
  return notJsonAt(value) === null;
}

/** Freezes a value and everything below it, so that what the catalog holds cannot be changed through what it gave out. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}
