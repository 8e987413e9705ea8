/** The extents between two byte arrays, in the plainest way: the oracle for every other diff. */

import type { Extent } from '../native/engine.js';

/**
 * Sorted, disjoint and maximal extents in [0, size of `after`) whose units differ; bytes past the end of `before` count
 * as zero. A unit that differs and is all zero afterwards is `zero`.
 */
export function extentsBetween(before: Uint8Array, after: Uint8Array, unitBytes: number): readonly Extent[] {
  const extents: { offset: number; length: number; kind: Extent['kind'] }[] = [];
  for (let offset = 0; offset < after.length; offset += unitBytes) {
    const unit = after.subarray(offset, offset + unitBytes);
    const old = new Uint8Array(unit.length);
    old.set(before.subarray(offset, offset + unit.length));
    if (Buffer.compare(old, unit) === 0) continue;
    const kind = unit.every((byte) => byte === 0) ? 'zero' : 'data';
    const last = extents.at(-1);
    if (last?.kind === kind && last.offset + last.length === offset) last.length += unit.length;
    else extents.push({ offset, length: unit.length, kind });
  }
  return extents;
}
