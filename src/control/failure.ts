/** Whatever a command threw, as plain data with a code, and back again as an error. */

import { errorTable, StillpointError, type ErrorCode, type ErrorContext } from '../store/errors.js';
import { fromSystem } from './system-error.js';

/** An error as it is printed and sent. */
export interface PlainFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly action: string;
  readonly context: ErrorContext;
}

function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(errorTable, value);
}

function isContext(value: unknown): value is ErrorContext {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Code, message and context of an error of the library or of the portable reader, which has a class of its own. */
function operatingError(error: unknown): PlainFailure | null {
  if (error instanceof StillpointError) return error.toJSON();
  if (!(error instanceof Error) || !('code' in error) || !isErrorCode(error.code)) return null;
  const context = 'context' in error && isContext(error.context) ? error.context : {};
  return { code: error.code, message: error.message, action: errorTable[error.code].action, context };
}

/** The plain form of anything thrown. */
export function plainFailure(error: unknown): PlainFailure {
  const known = operatingError(error) ?? fromSystem(error)?.toJSON();
  if (known !== undefined) return known;
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && error.name === 'AbortError' ? 'CANCELLED' : 'INTERNAL';
  return { code, message, action: errorTable[code].action, context: {} };
}

/** The error that another process sent; one whose code only it knows is `INTERNAL` here, and says so. */
export function sentFailure(sent: unknown): StillpointError {
  if (!isContext(sent)) return new StillpointError('INTERNAL', 'the server sent an error without a code');
  const { code, message, context }: Readonly<Record<string, unknown>> = sent;
  const text = typeof message === 'string' ? message : 'the server gave no reason';
  const about = isContext(context) ? context : {};
  if (isErrorCode(code)) return new StillpointError(code, text, about);
  return new StillpointError('INTERNAL', `${text} (${String(code)})`, about);
}
