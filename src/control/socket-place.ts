/**
 * Where the control socket of a store is: `control.sock` in its directory.
 *
 * A path of a Unix socket has at most 107 bytes. A longer one is reached through the open directory, as
 * `/proc/self/fd/N/control.sock`. The socket is bound in a directory that only its owner can enter and moved into place
 * with its permissions, so that there is no moment in which it is there and others may connect.
 */

import type { Server } from 'node:net';
import { chmod, lstat, mkdtemp, open, readdir, rename, rm, rmdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { StillpointError } from '../store/errors.js';

const pathBytesMax = 107;
/** The socket's name in the store's directory. */
export const socketName = 'control.sock';

/** Begins the names of directories in which a socket is made. */
const makingPrefix = '.control-';

/** The socket's path, to be shown; it may be too long to connect to. */
export function socketPathOf(storePath: string): string {
  return join(storePath, socketName);
}

/** Whether the system refused a call with one of these codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

/** Uses a path of a socket that the system takes, for as long as `use` runs. */
export async function withShortPath<Result>(
  directory: string,
  name: string,
  use: (path: string) => Promise<Result>,
): Promise<Result> {
  const path = join(directory, name);
  if (Buffer.byteLength(path) <= pathBytesMax) return use(path);
  const opened: FileHandle = await open(directory, 'r');
  try {
    return await use(`/proc/self/fd/${opened.fd}/${name}`);
  } finally {
    await opened.close();
  }
}

async function listenAt(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, backlog: 1024 }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** A socket that is in place. */
export interface PlacedSocket {
  readonly path: string;
  /** Takes the socket away, if it is still this one; connections stay. */
  remove(): Promise<void>;
}

/**
 * Makes a server listen on the store's socket, in place of one that a process left that is gone.
 *
 * Only for who has the store's lock: nobody else can be listening then. Errors: `IO_FAILED` where something that is no
 * socket has the name.
 */
export async function placeSocket(server: Server, storePath: string): Promise<PlacedSocket> {
  const path = socketPathOf(storePath);
  const there = await lstat(path).catch(() => null);
  if (there !== null && !there.isSocket()) {
    throw new StillpointError('IO_FAILED', `${path} is no socket; take it away`, { path });
  }
  for (const name of await readdir(storePath)) {
    // What a process left that ended between the two steps below.
    if (name.startsWith(makingPrefix)) await rm(join(storePath, name), { recursive: true, force: true });
  }
  const making = await mkdtemp(join(storePath, makingPrefix));
  try {
    await withShortPath(making, 's', (short) => listenAt(server, short));
    const made = join(making, 's');
    await chmod(made, 0o600);
    const { ino } = await lstat(made);
    await rename(made, path);
    return {
      path,
      remove: async () => {
        const now = await lstat(path).catch(() => null);
        if (now?.ino === ino) await rm(path, { force: true });
      },
    };
  } finally {
    // Node.js removes the path that it bound when it closes the server; there is nothing there any more.
    await rmdir(making).catch(() => undefined);
  }
}
