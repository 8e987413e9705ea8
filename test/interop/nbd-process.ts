/** A process that serves a store, as a test sees it. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import process from 'node:process';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('nbd-server.mjs', import.meta.url));

export class ServingProcess {
  readonly #child: ChildProcess & { readonly stdin: Writable; readonly stdout: Readable };
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess & { readonly stdin: Writable; readonly stdout: Readable }, said: Interface) {
    this.#child = child;
    this.#lines = said[Symbol.asyncIterator]();
  }

  /** Resolves when it listens. */
  static async start(storePath: string, socket: string): Promise<ServingProcess> {
    const child = spawn(process.execPath, [program, storePath, socket], { stdio: ['pipe', 'pipe', 'inherit'] });
    const serving = new ServingProcess(child, createInterface({ input: child.stdout }));
    await serving.#line();
    return serving;
  }

  /** Threads and open descriptors of the process; without segments of logs, of which there are more the more was written. */
  holds(): { readonly threads: number; readonly descriptors: number } {
    const place = `/proc/${this.#child.pid ?? 0}`;
    const open = readdirSync(`${place}/fd`).filter((descriptor) => !isSegment(`${place}/fd/${descriptor}`));
    return { threads: readdirSync(`${place}/task`).length, descriptors: open.length };
  }

  /** Restores a point in place; `restored`, or the code of the error. */
  async restoreInPlace(point: string): Promise<string> {
    this.#child.stdin.write(`${point}\n`);
    return this.#line();
  }

  /** Closes its store; resolves with the code that it ended with. */
  async end(): Promise<unknown> {
    const closed = once(this.#child, 'close');
    this.#child.stdin.end();
    const [code] = (await closed) as unknown[];
    return code;
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await closed;
  }

  async #line(): Promise<string> {
    const next = await this.#lines.next();
    if (next.done === true) throw new Error('the serving process has ended');
    return next.value;
  }
}

function isSegment(descriptor: string): boolean {
  try {
    return readlinkSync(descriptor).endsWith('.segment');
  } catch {
    return false; // closed by now
  }
}
