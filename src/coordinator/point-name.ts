/** The name of a restore point that its caller did not name. */

import { freeName } from '../catalog/names.js';

/** The UTC time as `2026-11-23T04-28-14Z`, with `-2`, `-3` ... appended while that is taken. */
export function defaultPointName(createdMs: number, isTaken: (name: string) => boolean): string {
  const seconds = new Date(createdMs).toISOString().slice(0, 19).replaceAll(':', '-');
  return freeName(`${seconds}Z`, isTaken);
}
