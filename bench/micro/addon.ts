/** The addon, reached past the library: benches time single calls of the boundary and of the engine. */

import { createRequire } from 'node:module';

import type * as Addon from '../../src/native/generated/binding.cjs';
import { inCheckout } from '../checkout.js';

/** Loaded by its path in the checkout, since a bench's compiled file lies elsewhere than its source. */
export const addon: typeof Addon = createRequire(import.meta.url)(
  inCheckout('src/native/generated/binding.cjs'),
) as typeof Addon;
