/**
 * Which consistency a capture may claim. DESIGN section 5.
 *
 * Pure. A machine with nothing that can be frozen is captured crash-consistent when its caller left the mode out, and
 * the point says so; asking for more is refused. Nothing is lowered silently.
 */

import { StillpointError } from '../store/errors.js';
import type { ConsistencyMode } from '../store/units.js';

/** What a capture without writers reaches. Errors: `NO_WRITERS` when more was asked for. */
export function reachedWithoutWriters(machine: string, requested: ConsistencyMode | null): ConsistencyMode {
  if (requested === null || requested === 'crashConsistent') return 'crashConsistent';
  const message = `${requested} was asked for, but nothing of ${machine} can be frozen: it has no writers`;
  throw new StillpointError('NO_WRITERS', message, { machine, requested });
}
