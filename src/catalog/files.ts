/**
 * The few file operations that slots and dump need, as an interface, so that tests can stop between any two of them.
 *
 * Names are relative to the store's directory. Failures of the operating system come as `StillpointError`.
 */

import { constants } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';

import { systemError } from './system-error.js';

/** An open file. */
export interface CatalogFile {
  /** Writes bytes from the beginning on. Not durable before `sync`. */
  write(bytes: Uint8Array): Promise<void>;
  /** Makes what was written durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A directory with files. */
export interface CatalogFiles {
  /** A file's bytes; null when there is none. */
  read(name: string): Promise<Uint8Array | null>;
  /** Makes an empty file, or empties the one that is there. Its name is not durable before `syncDirectory`. */
  create(name: string): Promise<CatalogFile>;
  /** Opens a file that is there for overwriting in place. */
  open(name: string): Promise<CatalogFile>;
  /** Gives a file another name, replacing what has it. Not durable before `syncDirectory`. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; nothing happens when there is none. */
  remove(name: string): Promise<void>;
  /** Makes names that were made, changed or removed durable. */
  syncDirectory(): Promise<void>;
}

/** How far `replaceDurably` came before it failed. */
export class ReplaceError extends Error {
  override readonly name = 'ReplaceError';
  /** Whether the old file is certainly still there, whole. */
  readonly isUnchanged: boolean;

  constructor(isUnchanged: boolean, cause: unknown) {
    super('a file could not be replaced', { cause });
    this.isUnchanged = isUnchanged;
  }
}

/**
 * Replaces a file as a whole: temporary name, sync, rename, directory sync.
 *
 * Holds: after it resolves the file has the new bytes, also after a power cut; at any time before, the old or the new
 * ones. Errors: `ReplaceError`, which says whether the old bytes are certainly in place.
 */
export async function replaceDurably(files: CatalogFiles, name: string, bytes: Uint8Array): Promise<void> {
  const temporary = temporaryName(name);
  try {
    const file = await files.create(temporary);
    try {
      await file.write(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    // The file under the temporary name is never read and is emptied by the next attempt; a sync that failed on it
    // is therefore never repeated on the same bytes.
    await files.remove(temporary).catch(() => undefined);
    throw new ReplaceError(true, cause);
  }
  try {
    await files.rename(temporary, name);
    await files.syncDirectory();
  } catch (cause) {
    throw new ReplaceError(false, cause);
  }
}

/** Removes what an interrupted replacement has left. */
export async function removeUnfinished(files: CatalogFiles, name: string): Promise<void> {
  await files.remove(temporaryName(name));
}

function temporaryName(name: string): string {
  return `${name}.tmp`;
}

/** Files in a directory of the machine. */
export function nodeFiles(directory: string): CatalogFiles {
  const at = (name: string): string => path.join(directory, name);
  const guarded = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      throw systemError(cause, at(name));
    }
  };

  const opened = (name: string, flags: string | number, isSynced = false): Promise<CatalogFile> =>
    guarded(name, async () => {
      const handle = await open(at(name), flags, 0o600);
      return {
        write: (bytes) =>
          guarded(name, async () => {
            for (let done = 0; done < bytes.length;) {
              const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, done);
              done += bytesWritten;
            }
          }),
        sync: () => (isSynced ? Promise.resolve() : guarded(name, () => handle.datasync())),
        close: () => guarded(name, () => handle.close()),
      };
    });

  return {
    read: (name) =>
      guarded(name, async () => {
        try {
          return await readFile(at(name));
        } catch (cause) {
          if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
          throw cause;
        }
      }),
    create: (name) => opened(name, 'w'),
    // Each write is durable by itself: one call on a busy thread pool instead of two.
    open: (name) => opened(name, constants.O_RDWR | constants.O_DSYNC, true),
    rename: (from, to) => guarded(from, () => rename(at(from), at(to))),
    remove: (name) => guarded(name, () => rm(at(name), { force: true })),
    syncDirectory: () =>
      guarded('.', async () => {
        const handle = await open(directory, 'r');
        try {
          await handle.sync();
        } finally {
          await handle.close();
        }
      }),
  };
}
