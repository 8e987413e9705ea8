/** A failure record of the engine as the library's error. */

import { StillpointError, errorTable } from '../store/errors.js';
import type { ErrorCode } from '../store/errors.js';

/** What a native call resolves with instead of its value. */
export interface FailureRecord {
  readonly code: string;
  readonly message: string;
  readonly context: Readonly<Record<string, string | number>>;
  readonly cause?: string | null;
}

/** The error of a failure record. A code that the table lacks is a defect and becomes `INTERNAL`. */
export function errorFromFailure(failure: FailureRecord): StillpointError {
  const cause = failure.cause === undefined || failure.cause === null ? undefined : new Error(failure.cause);
  if (isCode(failure.code)) return new StillpointError(failure.code, failure.message, failure.context, cause);
  const context = { ...failure.context, code: failure.code };
  return new StillpointError('INTERNAL', `${failure.message} (unknown code ${failure.code})`, context, cause);
}

function isCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}
