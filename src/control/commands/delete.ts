/** Deletes restore points. */

import type { CommandContext } from '../context.js';
import type { RestorePoint } from '../../index.js';
import { withStore } from '../opening.js';
import type { DeletedResult } from './machines.js';

/**
 * Deletes the points in the order given.
 *
 * All references are looked up before the first is deleted, so that a misspelt one deletes nothing. A reference given
 * twice counts once.
 */
export async function deletePoints(
  context: CommandContext,
  request: { readonly points: readonly string[] },
): Promise<DeletedResult> {
  return withStore(context, async (store) => {
    const points = new Map<string, RestorePoint>();
    for (const reference of request.points) {
      const point = await store.restorePoint(reference);
      points.set(point.id, point);
    }
    const deleted: string[] = [];
    for (const { reference } of points.values()) {
      context.signal.throwIfAborted();
      await store.deletePoint(reference);
      deleted.push(reference);
    }
    return { deleted };
  });
}
