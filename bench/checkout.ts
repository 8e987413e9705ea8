/** Where things are in the checkout, found from wherever a bench's compiled file lies. */

import { createRequire } from 'node:module';
import path from 'node:path';

/** The checkout. */
export const checkout: string = path.dirname(createRequire(import.meta.url).resolve('stillpoint/package.json'));

/** A path in the checkout. */
export function inCheckout(...parts: readonly string[]): string {
  return path.join(checkout, ...parts);
}
