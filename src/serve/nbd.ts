/** Addresses of NBD as text. */

import { isIP } from 'node:net';

import type { NbdAddress } from '../index.js';

/** `unix:/run/a.sock`, `tcp:127.0.0.1:10809`, `tcp:[::1]:10809`. */
export function nbdAddressText(address: NbdAddress): string {
  if ('unix' in address) return `unix:${address.unix}`;
  return `tcp:${hostText(address.host)}:${address.port}`;
}

/** A host as it stands before a port. */
export function hostText(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}
