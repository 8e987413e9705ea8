/**
 * Errors of the portable reader.
 *
 * The codes are those of the library's table and mean the same; this folder does not import that table, so that the
 * reader stands on its own. Codes are part of the API, message texts are not.
 */

/** A stable error code of the portable reader. */
export type PortableErrorCode =
  | 'ARGUMENT_INVALID'
  | 'CANCELLED'
  | 'CHUNK_DAMAGED'
  | 'CHUNK_MISSING'
  | 'DISK_NOT_FOUND'
  | 'IO_FAILED'
  | 'MANIFEST_DAMAGED'
  | 'NAME_AMBIGUOUS'
  | 'NODE_DAMAGED'
  | 'NODE_MISSING'
  | 'POINT_NOT_FOUND'
  | 'STORE_CLOSED'
  | 'STORE_DAMAGED'
  | 'STORE_NEWER_FORMAT'
  | 'STORE_NOT_FOUND'
  | 'TARGET_EXISTS';

/** Paths, ids, offsets and the like that say what an error is about. */
export type PortableErrorContext = Readonly<Record<string, string | number | readonly string[]>>;

/** Something outside the program went wrong (damage, a missing file, a full disk), or a call was out of range. */
export class PortableError extends Error {
  override readonly name = 'PortableError';
  /** Stable code. */
  readonly code: PortableErrorCode;
  /** What it is about, as data. */
  readonly context: PortableErrorContext;

  constructor(code: PortableErrorCode, message: string, context: PortableErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.context = context;
  }
}

/** The `code` of a Node.js system error, or null when the value is none. */
export function systemErrorCode(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Throws `CANCELLED` when the caller has asked to stop. */
export function throwIfCancelled(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) {
    throw new PortableError('CANCELLED', `${what} was cancelled by its caller`, {}, signal.reason);
  }
}
