/**
 * Reading from pack files: positional reads over a bounded number of open files.
 *
 * A store of a TiB has some ten thousand packs, more than a process may hold open. The files used last stay open; one
 * that is being read is never closed under the reader.
 */

import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { PortableError, systemErrorCode } from './errors.js';
import type { FrameSetting } from './frame.js';
import type { PackName } from './pack-header.js';

const openFilesMax = 32;

/** A pack of the store, as far as its name, length and header tell. */
export interface Pack extends PackName {
  /** The file, relative to the store. */
  readonly file: string;
  readonly fileBytes: number;
  readonly setting: FrameSetting;
}

interface OpenFile {
  readonly handle: Promise<FileHandle>;
  users: number;
}

/** Reads as much of [offset, offset + length) as the file has. */
export async function readRange(handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** The files below a store's directory, opened when they are read. */
export class PackFiles {
  readonly #storePath: string;
  /** In the order of last use, the oldest first. */
  readonly #open = new Map<string, OpenFile>();
  #closed = false;

  constructor(storePath: string) {
    this.#storePath = storePath;
  }

  /**
   * Reads as much of [offset, offset + length) as the pack has.
   *
   * Throws `CHUNK_MISSING` or `NODE_MISSING` when the file is gone, `IO_FAILED`, `STORE_CLOSED`.
   */
  async read(pack: Pack, offset: number, length: number): Promise<Uint8Array> {
    if (this.#closed) throw new PortableError('STORE_CLOSED', 'the store is closed; open it again');
    const file = this.#take(pack.file);
    try {
      return await readRange(await file.handle, offset, length);
    } catch (error) {
      const context = { file: pack.file, offset, length };
      if (systemErrorCode(error) === 'ENOENT') {
        const message = `${pack.file} was removed after the store was opened; open the store again`;
        const code = pack.kind === 'chunk' ? 'CHUNK_MISSING' : 'NODE_MISSING';
        throw new PortableError(code, message, context, error);
      }
      throw new PortableError('IO_FAILED', `${pack.file} cannot be read at ${offset}`, context, error);
    } finally {
      file.users -= 1;
      await this.#trim();
    }
  }

  /** Closes all files; reads that run are let finish. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#trim();
  }

  #take(name: string): OpenFile {
    const known = this.#open.get(name);
    const file = known ?? { handle: open(join(this.#storePath, name), 'r'), users: 0 };
    file.users += 1;
    this.#open.delete(name);
    this.#open.set(name, file);
    return file;
  }

  async #trim(): Promise<void> {
    const keep = this.#closed ? 0 : openFilesMax;
    for (const [name, file] of this.#open) {
      if (this.#open.size <= keep) break;
      if (file.users > 0) continue;
      this.#open.delete(name);
      // A file that could not be opened has been reported to its reader; there is nothing to close.
      const handle = await file.handle.catch(() => null);
      await handle?.close();
    }
  }
}
