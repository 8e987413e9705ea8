/** A store's disks over NBD. */

import { StillpointError } from './errors.js';
import type { StoreExports } from '../coordinator/exports.js';
import type { Engine, NbdRequest, NbdServing } from '../native/engine.js';

/**
 * Where to listen: a Unix socket, which is made with mode 0600; a port of an address, 0 for any that is free; or a descriptor of a
 * socket that listens already, which is given away.
 */
export type NbdListen =
  { readonly unix: string } | { readonly host: string; readonly port: number } | { readonly fd: number };

/** Where a server listens. */
export type NbdAddress = { readonly unix: string } | { readonly host: string; readonly port: number };

/** What `serveNbd` is told. */
export interface NbdOptions {
  readonly listen: readonly NbdListen[];
  /** Clients at once at each address; those above it are hung up on. Default 256. */
  readonly clientsMax?: number | undefined;
  /** Offers TLS, and forces it on addresses that other machines reach. */
  readonly tls?: NbdTls | undefined;
  /**
   * Takes clients without TLS also at addresses that other machines reach: whoever is on the way can read and write every disk.
   * Default false.
   */
  readonly allowPlainTcp?: boolean | undefined;
}

/** How a server encrypts: with a certificate, or with keys that clients know too. Not with both. */
export type NbdTls = NbdCertificate | NbdPreSharedKeys;

/** Who may connect, and with which key (TLS-PSK): nobody else can. */
export interface NbdPreSharedKeys {
  /**
   * A text as `psktool` of GnuTLS writes it: a line `USER:KEY` for each user, the key of 16 to 256 bytes in hexadecimal; a user that
   * begins with `#` is written in hexadecimal too.
   */
  readonly preSharedKeys: string;
}

/** What a server proves itself with, as PEM texts. */
export interface NbdCertificate {
  /** The certificate and those between it and an authority that clients know. */
  readonly certificate: string;
  readonly key: string;
  /** Where they are given, clients must have a certificate of one of them. */
  readonly clientAuthorities?: string | undefined;
}

/** A running NBD server. Closing the store closes it too. */
export interface NbdServer {
  /** In the order of `listen`. */
  readonly addresses: readonly NbdAddress[];
  /** Clients now, and how many were hung up on because there were too many. */
  statistics(): { readonly clients: number; readonly refused: number };
  /** Disconnects all clients and listens no more. Resolves when no request of theirs is under way. */
  close(): Promise<void>;
}

/** The NBD servers of one open store. */
export class NbdServers {
  readonly #engine: Engine;
  readonly #servers = new Set<OpenNbdServer>();
  #isClosing = false;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async serve(plan: NbdRequest, exports: StoreExports): Promise<NbdServer> {
    let serving: NbdServing;
    try {
      serving = await this.#engine.serveNbd(plan, exports);
    } catch (error) {
      exports.closeAll(); // somebody may have connected at an address before the one that failed
      throw error;
    }
    if (this.#isClosing) {
      await serving.stop();
      exports.closeAll();
      throw new StillpointError('STORE_CLOSED', 'the store was closed before its server had begun');
    }
    const server = new OpenNbdServer(serving, exports, () => this.#servers.delete(server));
    this.#servers.add(server);
    return server;
  }

  /** Closes all of them. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all([...this.#servers].map((server) => server.close()));
  }
}

class OpenNbdServer implements NbdServer {
  readonly addresses: readonly NbdAddress[];
  readonly #serving: NbdServing;
  readonly #exports: StoreExports;
  readonly #onClosed: () => void;
  #closing: Promise<void> | null = null;

  constructor(serving: NbdServing, exports: StoreExports, onClosed: () => void) {
    this.addresses = serving.addresses.map((at) => ('path' in at ? { unix: at.path } : at));
    this.#serving = serving;
    this.#exports = exports;
    this.#onClosed = onClosed;
  }

  statistics(): { readonly clients: number; readonly refused: number } {
    if (this.#closing !== null) throw new StillpointError('STORE_CLOSED', 'the server was closed');
    return this.#serving.statistics();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#serving.stop();
    this.#exports.closeAll();
    this.#onClosed();
  }
}
