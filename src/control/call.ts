/**
 * Runs a command where the store is open: in the process that holds it, if it answers on the control socket, else here.
 *
 * With `readOnly` a command looks by itself, without asking anybody.
 */

import { lstatSync } from 'node:fs';

import { isStillpointError, StillpointError } from '../store/errors.js';
import { briefCommands, fileCommands, runHere, type CommandName, type RequestOf, type ResultOf } from './commands.js';
import type { ControlClient } from './client.js';
import type { CommandContext } from './context.js';
import type { DiffStream, DiffSummary } from './commands/diff.js';
import { socketPathOf } from './socket-place.js';

/** Refuses to have files opened by a process that sees others under the same paths. */
async function checkSameFiles(command: CommandName, storePath: string, server: ControlClient): Promise<void> {
  const theirs = server.hello?.mountNamespace ?? null;
  if (!fileCommands.has(command) || theirs === null) return;
  const { mountNamespace } = await import('./mounts.js');
  if (theirs === (await mountNamespace())) return;
  const pid = server.hello?.pid ?? 0;
  const message = `the process ${pid} that has the store ${storePath} open sees other mounts than this one; paths mean other files there`;
  throw new StillpointError('STORE_LOCKED', message, { path: storePath, pid });
}

function hasSocket(storePath: string): boolean {
  try {
    return lstatSync(socketPathOf(storePath), { throwIfNoEntry: false })?.isSocket() === true;
  } catch {
    return false;
  }
}

/** Asks the server; null where there is none, where it does not take the command, or ends before it begins with it. */
async function there<Result>(
  context: CommandContext,
  command: CommandName,
  use: (server: ControlClient) => Promise<Result>,
): Promise<{ readonly result: Result } | null> {
  if (context.readOnly || context.held !== null) return null;
  // Looked at before anything is loaded: most of the time nobody serves the store.
  if (!hasSocket(context.storePath)) return null;
  const { serverOf, ServerEnding } = await import('./client.js');
  const server = await serverOf(context.storePath, context.signal);
  if (server === null) return null;
  try {
    if (server.hello?.takes === 'brief' && !briefCommands.has(command)) return null;
    await checkSameFiles(command, context.storePath, server);
    return { result: await use(server) };
  } catch (error) {
    if (error instanceof ServerEnding) return null;
    throw error;
  } finally {
    server.close();
  }
}

/** Runs a command in the process that has the store open; null where none answers. Errors: those of `call`. */
export async function callServer<Name extends CommandName>(
  context: CommandContext,
  command: Name,
  request: RequestOf<Name>,
): Promise<{ readonly result: ResultOf<Name> } | null> {
  return there(context, command, (server) => server.call(context, command, request));
}

async function whereItIsOpen<Result>(
  context: CommandContext,
  command: CommandName,
  remotely: (server: ControlClient) => Promise<Result>,
  here: () => Promise<Result>,
): Promise<Result> {
  const answered = await there(context, command, remotely);
  if (answered !== null) return answered.result;
  try {
    return await here();
  } catch (error) {
    // Somebody may have opened the store since; nothing was done here, since that is what opening failed with.
    if (!isStillpointError(error, 'STORE_LOCKED')) throw error;
    const late = await there(context, command, remotely);
    if (late === null) throw error;
    return late.result;
  }
}

/** Runs a command and resolves with its result, wherever it was carried out. */
export async function call<Name extends CommandName>(
  context: CommandContext,
  command: Name,
  request: RequestOf<Name>,
): Promise<ResultOf<Name>> {
  return whereItIsOpen(
    context,
    command,
    (server) => server.call(context, command, request),
    () => runHere(context, command, request),
  );
}

/** As `diff` does: gives the receiver the extents as they come, and resolves with the sums. */
export async function callDiff(
  context: CommandContext,
  request: RequestOf<'diff'>,
  receive: (stream: DiffStream) => Promise<void>,
): Promise<DiffSummary> {
  return whereItIsOpen(
    context,
    'diff',
    (server) => server.diff(context, request, receive),
    async () => (await import('./commands/diff.js')).diff(context, request, receive),
  );
}
