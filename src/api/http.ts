/** The HTTP listener of a server: `/metrics` and `/healthz`. */

import type { AddressInfo } from 'node:net';

import { fastify } from 'fastify';

import { hasCode } from '../control/socket-place.js';
import { StillpointError } from '../store/errors.js';
import type { Metrics } from './metrics.js';

/** Where to listen; `fd` is a socket that somebody else listens on already. */
export type HttpListen = { readonly host: string; readonly port: number } | { readonly fd: number };

export interface HttpOptions {
  readonly listen: HttpListen;
  readonly metrics: Pick<Metrics, 'contentType' | 'text'>;
  readonly health: () => Promise<Health>;
}

/** How a server is. */
export interface Health {
  /** `degraded`: machines wait for their write logs, all others are served. `stopping`: the server was asked to end. */
  readonly status: 'ok' | 'degraded' | 'stopping';
  /** Names of the machines and detached disks whose write logs failed; ids where there is no name. Left out where there are none. */
  readonly failed?: readonly string[];
}

/** A listener. */
export interface HttpServer {
  /** `http://127.0.0.1:9464`. */
  readonly url: string;
  close(): Promise<void>;
}

/** A passed socket may be a Unix one, which has a path and no port. */
function urlOf(address: string | AddressInfo | null): string {
  if (address === null || typeof address === 'string') return `unix:${address ?? ''}`;
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return `http://${host}:${address.port}`;
}

/** Starts to listen. Errors: `ARGUMENT_INVALID` where the address is taken or is none of this machine. */
export async function startHttp({ listen, metrics, health }: HttpOptions): Promise<HttpServer> {
  const app = fastify({ logger: false, forceCloseConnections: true, requestTimeout: 30_000, bodyLimit: 65_536 });
  // One machine's failed log is no reason to end the server, which is what others do to one that is not healthy.
  app.get('/healthz', async (_request, reply) => {
    const answer = await health();
    return reply.code(answer.status === 'stopping' ? 503 : 200).send(answer);
  });
  app.get('/metrics', async (_request, reply) => {
    return reply.header('content-type', metrics.contentType).send(await metrics.text());
  });
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: 'there is /metrics and /healthz' }));
  try {
    if ('fd' in listen) {
      await app.ready();
      await new Promise<void>((resolve, reject) => {
        app.server.once('error', reject).listen({ fd: listen.fd }, resolve);
      });
    } else await app.listen({ host: listen.host, port: listen.port });
  } catch (error) {
    await app.close();
    if (!hasCode(error, 'EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES', 'ENOTFOUND')) throw error;
    const message = `cannot listen for HTTP: ${error instanceof Error ? error.message : ''}`;
    throw new StillpointError('ARGUMENT_INVALID', message, { ...listen }, error);
  }
  return {
    url: urlOf(app.server.address()),
    close: () => app.close(),
  };
}
