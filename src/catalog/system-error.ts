/** Failures of the operating system as coded errors. */

import { StillpointError, isStillpointError, type ErrorCode } from '../store/errors.js';

const codes: ReadonlyMap<unknown, ErrorCode> = new Map([
  ['ENOSPC', 'NO_SPACE'],
  ['EDQUOT', 'NO_SPACE'],
  ['EACCES', 'PERMISSION_DENIED'],
  ['EPERM', 'PERMISSION_DENIED'],
  ['EROFS', 'PERMISSION_DENIED'],
]);

/** An error of Node's file calls on a path, with its code of the table; `IO_FAILED` for what has none of its own. */
export function systemError(cause: unknown, file: string): StillpointError {
  if (isStillpointError(cause)) return cause;
  const system = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new StillpointError(codes.get(system) ?? 'IO_FAILED', `${file}: ${reason}`, { path: file }, cause);
}
