/** NBD as `serve` needs it: where to listen, and the part of a store that does. */

import { BlockList, isIP } from 'node:net';

import { StillpointError } from '../store/errors.js';

/** Where to listen; `fd` is a socket that somebody else listens on already. */
export type NbdListen =
  { readonly unix: string } | { readonly host: string; readonly port: number } | { readonly fd: number };

/** Where it listens. */
export type NbdAddress = { readonly unix: string } | { readonly host: string; readonly port: number };

/** PEM texts. */
export interface NbdTls {
  readonly certificate: string;
  readonly key: string;
  /** Clients must show a certificate of one of them. */
  readonly clientAuthorities?: string;
}

export interface NbdOptions {
  readonly listen: readonly NbdListen[];
  readonly clientsMax?: number;
  readonly tls?: NbdTls;
  /** Serve addresses beyond this machine without TLS. */
  readonly allowPlainTcp?: boolean;
}

export interface NbdServer {
  readonly addresses: readonly NbdAddress[];
  statistics(): { clients: number; refused: number };
  close(): Promise<void>;
}

interface NbdStore {
  serveNbd(options: NbdOptions): Promise<NbdServer>;
}

function canServeNbd(store: object): store is NbdStore {
  return 'serveNbd' in store && typeof store.serveNbd === 'function';
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host.toLowerCase() === 'localhost';
  return loopback.check(host, family === 6 ? 'ipv6' : 'ipv4');
}

/** Refuses addresses that others could reach in the clear. Throws `ARGUMENT_INVALID`. */
export function checkPlainTcp({ listen, tls, allowPlainTcp = false }: NbdOptions): void {
  if (tls !== undefined || allowPlainTcp) return;
  for (const place of listen) {
    if (!('host' in place) || isLoopback(place.host)) continue;
    throw new StillpointError(
      'ARGUMENT_INVALID',
      `tcp:${place.host}:${place.port} can be reached from elsewhere, and nothing is encrypted: give a certificate, or say --allow-plain-tcp`,
      { host: place.host, port: place.port },
    );
  }
}

/** Starts NBD; null where nothing is to be listened on. Errors: `ARGUMENT_INVALID`, those of the system. */
export async function startNbd(store: object, options: NbdOptions): Promise<NbdServer | null> {
  if (options.listen.length === 0) return null;
  if (!canServeNbd(store)) throw new StillpointError('ARGUMENT_INVALID', 'this store cannot be served over NBD');
  return store.serveNbd(options);
}

/** `unix:/run/a.sock`, `tcp:127.0.0.1:10809`, `tcp:[::1]:10809`. */
export function nbdAddressText(address: NbdAddress): string {
  if ('unix' in address) return `unix:${address.unix}`;
  return `tcp:${hostText(address.host)}:${address.port}`;
}

/** A host as it stands before a port. */
export function hostText(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}
