/** Where things are in the checkout. */

import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A path in the checkout. */
export function inRoot(...parts) {
  return path.join(root, ...parts);
}

/** What the scripts remember between runs; safe to remove at any time. */
export const cache = inRoot('.cache');

/** Whether an automatic run asks: everything must be there, nothing may be skipped or rewritten. */
export const isCi = process.env['CI'] === 'true' || process.env['CI'] === '1';
