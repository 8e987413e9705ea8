/**
 * Tells in which extents two points differ.
 *
 * The extents are handed on while they are found and never held: a diff of a large disk has millions. So this command
 * gives its result to a receiver instead of returning it, and the store is closed when the receiver is done.
 */

import type { DiffHeader, Extent } from '../../index.js';
import { progressOf, type CommandContext } from '../context.js';
import { withStore } from '../opening.js';
import { roleIn } from '../roles.js';

export interface DiffRequest {
  readonly before: string;
  readonly after: string;
  /** Role of the disk; null where the later point has only one. */
  readonly disk: string | null;
  /** Role in the older point; null when it is the same. */
  readonly diskBefore: string | null;
  /** Null: whole chunks, compared without reading them. */
  readonly granularity: number | null;
}

/** A diff while it is found. `extents` can be read once. */
export interface DiffStream extends DiffHeader {
  readonly extents: AsyncIterable<Extent>;
}

export interface DiffSummary extends DiffHeader {
  readonly extentCount: number;
  readonly dataBytes: number;
  readonly zeroBytes: number;
}

/** Counts extents on their way through. */
export async function* countingExtents(
  extents: AsyncIterable<Extent>,
  counts: { extentCount: number; dataBytes: number; zeroBytes: number },
): AsyncGenerator<Extent, void, undefined> {
  for await (const extent of extents) {
    counts.extentCount += 1;
    if (extent.kind === 'data') counts.dataBytes += extent.length;
    else counts.zeroBytes += extent.length;
    yield extent;
  }
}

/** Compares two points and gives the receiver the extents as they come; resolves with the sums. */
export async function diff(
  context: CommandContext,
  request: DiffRequest,
  receive: (stream: DiffStream) => Promise<void>,
): Promise<DiffSummary> {
  return withStore(context, async (store) => {
    const disk = roleIn(await store.restorePoint(request.after), request.disk);
    const found = store.diff(request.before, request.after, {
      disk,
      diskBefore: request.diskBefore ?? undefined,
      granularity: request.granularity ?? undefined,
      signal: context.signal,
      onProgress: progressOf(context, `diff ${disk}`),
    });
    const { sizeBefore, sizeAfter, granularity } = await found.header;
    const counts = { extentCount: 0, dataBytes: 0, zeroBytes: 0 };
    const extents = countingExtents(found, counts);
    await receive({ sizeBefore, sizeAfter, granularity, extents });
    return { sizeBefore, sizeAfter, granularity, ...counts };
  });
}

/** A receiver for callers that want the sums alone. */
export async function onlyCount(stream: DiffStream): Promise<void> {
  const extents = stream.extents[Symbol.asyncIterator]();
  while ((await extents.next()).done !== true);
}
