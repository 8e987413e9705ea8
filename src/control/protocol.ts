/**
 * The messages of the control socket, version 1: docs/control-protocol.md.
 *
 * One JSON object a line, UTF-8, in both directions. The client says hello, the server answers hello; then one call at a
 * time: the client sends `call`, the server any number of `progress`, for a command with a long answer `header` and then
 * `rows`, and at the end `result` or `error`. The client may send `cancel`; going away means the same.
 */

import type { CommandName } from './commands.js';
import type { PlainFailure } from './failure.js';
import type { TaskProgress } from './context.js';

/** The versions that this side speaks, newest first. */
export const protocolVersions: readonly number[] = [1];

/** Bytes of one line that a server takes: a configuration of 1 MiB fits, however it is escaped. */
export const requestBytesMax: number = 8 * 1024 ** 2;

/** Bytes of one line that a client takes: an answer that is not streamed. Node.js cannot hold much longer texts. */
export const answerBytesMax: number = 256 * 1024 ** 2;

/** Rows in one message at most. */
export const rowsMax: number = 512;

/** What the server says of itself. */
export interface ServerHello {
  readonly version: number;
  readonly pid: number;
  readonly storeId: string;
  /** Names the mounts that the server sees, as `/proc/self/ns/mnt` has it; null where that cannot be read. */
  readonly mountNamespace: string | null;
  /** All commands, or only those that take no longer than a moment. */
  readonly takes: 'all' | 'brief';
}

/** What a client sends. */
export type ClientMessage =
  | { readonly hello: { readonly versions: readonly number[] } }
  | {
      readonly call: {
        readonly command: CommandName;
        readonly request: unknown;
        /** Send the rows of a long answer; without them only its sums come. */
        readonly rows: boolean;
      };
    }
  | { readonly cancel: { readonly reason: string } };

/** An extent on its way: offset, length, kind. */
export type ExtentRow = readonly [offset: number, length: number, kind: 'data' | 'zero'];

/** What a server sends. */
export type ServerMessage =
  | { readonly hello: ServerHello }
  | { readonly progress: TaskProgress }
  | { readonly header: unknown }
  | { readonly rows: readonly ExtentRow[] }
  | { readonly result: unknown }
  | { readonly error: PlainFailure }
  /** The server ends; a call that it has not answered was not begun. */
  | { readonly bye: Readonly<Record<string, never>> };
