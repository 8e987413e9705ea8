/** Which disk of a point a command means when its caller names none. */

import { StillpointError } from '../store/errors.js';
import type { RestorePointDisk } from '../index.js';

/** The role that was named, or that of the point's only captured disk. Throws `ARGUMENT_INVALID` with the roles. */
export function roleIn(
  point: { readonly reference: string; readonly disks: readonly Pick<RestorePointDisk, 'role' | 'excluded'>[] },
  named: string | null,
): string {
  if (named !== null) return named;
  const captured = point.disks.filter((disk) => !disk.excluded);
  const [only] = captured;
  if (only !== undefined && captured.length === 1) return only.role;
  throw new StillpointError(
    'ARGUMENT_INVALID',
    `${point.reference} has ${captured.length} disks; name one with --disk`,
    {
      point: point.reference,
      roles: captured.map((disk) => disk.role),
    },
  );
}
