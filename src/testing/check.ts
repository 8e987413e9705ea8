/** Comparing a store with the model of it. */

import type { Extent } from '../native/engine.js';
import type { Store } from '../store/handles.js';
import type { DiskModel } from './model.js';

/** Bytes read at once. */
const readBytes = 1 << 20;

/**
 * Compares every disk of every point of a machine with the model, and follows the diffs from each point to the next.
 *
 * Errors: a `TypeError` that says what differs first.
 */
export async function checkStore(store: Store, machine: string, model: Pick<DiskModel, 'points'>): Promise<void> {
  const listed = (await store.restorePoints(machine)).map(({ name }) => name);
  const expected = model.points.map(({ name }) => name);
  if (listed.join() !== expected.join()) {
    throw new TypeError(`the store lists ${listed.join() || 'no points'}, not ${expected.join() || 'none'}`);
  }
  for (const [index, point] of model.points.entries()) {
    for (const [role, bytes] of point.disks) {
      const found = await readDisk(store, `${machine}/${point.name}`, role, bytes.length);
      sameBytes(found, bytes, `${point.name}/${role}`);
      const before = model.points[index - 1];
      const bytesBefore = before?.disks.get(role);
      if (before === undefined || bytesBefore === undefined) continue;
      for (const granularity of [null, 512]) {
        await checkDiff(
          store,
          machine,
          { name: before.name, bytes: bytesBefore },
          { name: point.name, bytes },
          role,
          granularity,
        );
      }
    }
  }
}

/** One side of a diff. */
export interface DiffSide {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Checks the laws of a diff (docs/api.md): extents sorted, disjoint, maximal; applied to the older they give the newer. */
export async function checkDiff(
  store: Store,
  machine: string,
  before: DiffSide,
  after: DiffSide,
  role: string,
  granularity: number | null,
): Promise<void> {
  const what = `the diff of ${role} from ${before.name} to ${after.name}`;
  const options = granularity === null ? { disk: role } : { disk: role, granularity };
  const applied = new Uint8Array(after.bytes.length);
  applied.set(before.bytes.subarray(0, applied.length));
  let last: Extent | null = null;
  for await (const extent of store.diff(`${machine}/${before.name}`, `${machine}/${after.name}`, options)) {
    const { offset, length, kind } = extent;
    const follows =
      last === null ||
      offset > last.offset + last.length ||
      (offset === last.offset + last.length && kind !== last.kind);
    if (!follows || length <= 0 || offset + length > applied.length) {
      throw new TypeError(`${what} has the extent ${JSON.stringify(extent)} after ${JSON.stringify(last)}`);
    }
    const content = after.bytes.subarray(offset, offset + length);
    if (kind === 'zero' && content.some((byte) => byte !== 0)) {
      throw new TypeError(`${what} calls ${JSON.stringify(extent)} zero`);
    }
    if (granularity !== null) checkBlocks(applied, content, offset, granularity, what);
    applied.set(content, offset);
    last = extent;
  }
  sameBytes(applied, after.bytes, `${what}, applied`);
}

/** Refined extents hold no block that is equal on both sides. */
function checkBlocks(before: Uint8Array, content: Uint8Array, offset: number, granularity: number, what: string): void {
  for (let at = 0; at < content.length; at += granularity) {
    const block = content.subarray(at, at + granularity);
    if (block.every((byte, index) => byte === before[offset + at + index])) {
      throw new TypeError(`${what} names the block at ${offset + at}, which is equal`);
    }
  }
}

async function readDisk(store: Store, point: string, disk: string, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  for (let offset = 0; offset < size; offset += readBytes) {
    const length = Math.min(readBytes, size - offset);
    bytes.set(await store.read(point, { disk, offset, length }), offset);
  }
  return bytes;
}

/** Errors: a `TypeError` that names the first byte that differs. */
export function sameBytes(found: Uint8Array, expected: Uint8Array, what: string): void {
  if (found.length !== expected.length) {
    throw new TypeError(`${what} is ${found.length} bytes long, not ${expected.length}`);
  }
  if (Buffer.compare(found, expected) === 0) return; // quick where all is well
  const at = found.findIndex((byte, index) => byte !== expected[index]);
  if (at >= 0) throw new TypeError(`${what} has ${String(found[at])} at ${at}, not ${String(expected[at])}`);
}
