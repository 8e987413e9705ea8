/**
 * What the operating system refused the commands themselves: a full disk behind stdout, a directory that is not there.
 *
 * The engine and the library have codes for what they do; these are the few calls that the commands make on their own.
 */

import { StillpointError, type ErrorCode } from '../store/errors.js';

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'NO_SPACE',
  EDQUOT: 'NO_SPACE',
  EACCES: 'PERMISSION_DENIED',
  EPERM: 'PERMISSION_DENIED',
  EROFS: 'PERMISSION_DENIED',
};

function isSystemError(error: unknown): error is NodeJS.ErrnoException & { readonly code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string';
}

/** The error of a failed system call as one with a code; null for everything else. */
export function fromSystem(error: unknown, what?: string): StillpointError | null {
  if (!isSystemError(error)) return null;
  const message = what === undefined ? error.message : `${what}: ${error.message}`;
  const context = error.path === undefined ? {} : { path: error.path };
  return new StillpointError(codes[error.code] ?? 'IO_FAILED', message, context, error);
}
