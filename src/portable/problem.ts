/** What is wrong with a store: the value that listing and verification give back for damage. */

import type { PortableErrorCode } from './errors.js';

/** A byte range of a disk. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** Where damage hits a disk restore point; ranges are sorted and disjoint. */
export interface PortableHit {
  readonly pointId: string;
  readonly diskId: string;
  readonly ranges: readonly ByteRange[];
}

/** One thing that is wrong with a store. */
export interface PortableProblem {
  readonly code: PortableErrorCode;
  readonly message: string;
  /** The file, relative to the store. */
  readonly file: string;
  /** Where in the file; null when the whole file is meant. */
  readonly offset: number | null;
  /** How many bytes of the file are meant; null when that is unknown or the whole file. */
  readonly length: number | null;
  /** What of which disk restore points cannot be read because of it. Only verification fills it. */
  readonly hits: readonly PortableHit[];
}

/** A problem that is not known to hit a disk. */
export function problemOf(
  code: PortableErrorCode,
  message: string,
  file: string,
  offset: number | null,
  length: number | null = null,
): PortableProblem {
  return { code, message, file, offset, length, hits: [] };
}
