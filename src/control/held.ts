/** A store that a process keeps open while commands of others run in it. */

import type { Finding, Store } from '../index.js';

/** A store that is open already. */
export interface HeldStore {
  readonly store: Store;
  /** What opening found that no verification has reported yet. */
  unreported: readonly Finding[];
}
