/**
 * Sockets that a service manager listens on for us: sd_listen_fds(3).
 *
 * They are descriptors from 3 on, with names in `LISTEN_FDNAMES`; what a socket is for is told by the word `nbd` or `http`
 * in its name (`FileDescriptorName=`, or the name of its unit: `stillpoint-nbd.socket`).
 */

import { StillpointError } from '../store/errors.js';

/** What was passed. */
export interface ActivatedSockets {
  readonly nbd: readonly number[];
  readonly http: readonly number[];
}

type Environment = Readonly<Record<string, string | undefined>>;

const firstFd = 3;

/** The sockets that were passed to this process; none where they were meant for another. Errors: `ARGUMENT_INVALID`. */
export function activatedSockets(environment: Environment, pid: number): ActivatedSockets {
  const sockets: { nbd: number[]; http: number[] } = { nbd: [], http: [] };
  if (environment['LISTEN_PID'] !== String(pid)) return sockets;
  const count = Number(environment['LISTEN_FDS'] ?? '0');
  if (!Number.isSafeInteger(count) || count < 0 || count > 1024) return sockets;
  const names = (environment['LISTEN_FDNAMES'] ?? '').split(':');
  for (let index = 0; index < count; index += 1) {
    const name = names[index] ?? '';
    const words = name.toLowerCase().split(/[^a-z0-9]+/u);
    if (words.includes('nbd')) sockets.nbd.push(firstFd + index);
    else if (words.includes('http')) sockets.http.push(firstFd + index);
    else {
      const message = `the passed socket ${firstFd + index} is called "${name}": say nbd or http with FileDescriptorName=`;
      throw new StillpointError('ARGUMENT_INVALID', message, { fd: firstFd + index, name });
    }
  }
  if (sockets.http.length > 1) {
    throw new StillpointError('ARGUMENT_INVALID', `${sockets.http.length} sockets are passed for http; one is enough`);
  }
  return sockets;
}
