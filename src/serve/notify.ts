/**
 * Tells a service manager how far we are: sd_notify(3).
 *
 * Node.js has no datagrams on Unix sockets, so the program `systemd-notify` sends them, which also knows abstract sockets.
 * It is a process of its own: the unit says `NotifyAccess=all`.
 */

import { execFile } from 'node:child_process';

import type { Store } from '../index.js';
import { wait } from '../store/wait.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** Sends states to the service manager; does nothing where there is none. */
export interface Notifier {
  /** Sends assignments such as `READY=1`. Resolves when they are sent, or cannot be. */
  tell(...states: readonly string[]): Promise<void>;
  /** Says that we are alive until the signal aborts, as often as the service manager wants it. */
  keepAlive(store: Pick<Store, 'status'>, signal: AbortSignal): Promise<void>;
}

const silent: Notifier = { tell: async () => undefined, keepAlive: async () => undefined };

/** How long sending may take before it is given up. */
const sendingMs = 5000;

/** Half of the time after which the service manager gives us up; null where it does not watch. */
export function watchdogMs(environment: Environment, pid: number): number | null {
  const microseconds = Number(environment['WATCHDOG_USEC'] ?? '');
  const watched = environment['WATCHDOG_PID'] ?? String(pid);
  if (watched !== String(pid) || !Number.isSafeInteger(microseconds) || microseconds <= 0) return null;
  return Math.max(10, Math.floor(microseconds / 2000));
}

/** The notifier of this process. `onFailure` is told once when the program is missing or refuses. */
export function notifierOf(environment: Environment, pid: number, onFailure: (reason: string) => void): Notifier {
  const socket = environment['NOTIFY_SOCKET'] ?? '';
  if (socket === '') return silent;
  let hasFailed = false;
  const tell = async (...states: readonly string[]): Promise<void> => {
    const reason = await send(environment, states);
    if (reason === null || hasFailed) return;
    hasFailed = true;
    onFailure(reason);
  };
  return {
    tell,
    keepAlive: async (store, signal) => {
      const everyMs = watchdogMs(environment, pid);
      while (everyMs !== null && !signal.aborted) {
        // An answer of the store says more than that this loop turns. One that fails is not told, and the next may be.
        const isWell = await store.status().then(
          () => true,
          () => false,
        );
        if (isWell) await tell('WATCHDOG=1');
        await wait(everyMs, signal);
      }
    },
  };
}

/** Runs the program; null when it went well, else why not. */
async function send(environment: Environment, states: readonly string[]): Promise<string | null> {
  const env = { PATH: environment['PATH'], NOTIFY_SOCKET: environment['NOTIFY_SOCKET'] };
  return new Promise((resolve) => {
    execFile('systemd-notify', [...states], { env, timeout: sendingMs }, (error, _out, err) => {
      resolve(error === null ? null : err.trim() || error.message);
    });
  });
}
