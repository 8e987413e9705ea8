/** `stillpoint serve` as it is installed, in a process of its own, on a store in a folder of its own. */

import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import type { Ready } from '../../src/serve/serve.js';
import { writeStill } from '../input/temporary.js';
import type { Ended } from '../cli/compiled-cli.js';

/** The program that is installed. */
export const main: string = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** A process whose output is kept while it runs. */
export class Kept {
  readonly child: ChildProcess;
  out = '';
  err = '';
  readonly ended: Promise<Ended>;
  #wake: () => void = () => undefined;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on('data', (part: Buffer) => {
      this.out += part.toString();
      this.#wake();
    });
    child.stderr?.on('data', (part: Buffer) => {
      this.err += part.toString();
      this.#wake();
    });
    this.ended = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        resolve({ code, signal, out: this.out, err: this.err });
        this.#wake();
      });
    });
  }

  /** Resolves when the condition holds; rejects when the process ends before. */
  async until<Value>(condition: () => Value | null): Promise<Value> {
    for (;;) {
      const value = condition();
      if (value !== null) return value;
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`it ended with ${String(this.child.exitCode)}:\n${this.out}${this.err}`);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The records of a JSON log so far. */
  get records(): Record<string, unknown>[] {
    return this.err
      .split('\n')
      .filter((line) => line.startsWith('{"level"'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Waits for a record of the log with this message. */
  async record(message: string): Promise<Record<string, unknown>> {
    return this.until(() => this.records.find(({ msg }) => msg === message) ?? null);
  }
}

/** A folder with a store, and what runs there. */
export class Place {
  readonly folder: string = mkdtempSync(path.join(tmpdir(), 'stillpoint-serve-'));
  readonly #running: Kept[] = [];

  get store(): string {
    return path.join(this.folder, '.stillpoint');
  }

  at(name: string): string {
    return path.join(this.folder, name);
  }

  /** Starts a program in the folder. */
  start(program: string, words: readonly string[], environment: Readonly<Record<string, string>> = {}): Kept {
    const env = { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', TZ: 'UTC', TERM: 'xterm', ...environment };
    const child = spawn(program, [...words], { cwd: this.folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const kept = new Kept(child);
    this.#running.push(kept);
    return kept;
  }

  /** Starts `stillpoint WORDS...`. */
  type(line: string, environment: Readonly<Record<string, string>> = {}): Kept {
    return this.start(process.execPath, [main, ...line.split(' ')], environment);
  }

  /** Runs `stillpoint WORDS... --json` to its end, which has to be a good one, and gives its answer. */
  async done(line: string): Promise<Record<string, unknown>> {
    const { code, out, err } = await this.type(`${line} --json`).ended;
    if (code !== 0) throw new Error(`${line}: ${String(code)}\n${err}`);
    return JSON.parse(out) as Record<string, unknown>;
  }

  /** Makes the store, with a machine of one managed disk. */
  async make(): Promise<void> {
    await this.done('init');
    await writeStill(this.at('os.raw'), Buffer.alloc(1_048_576, 'contents '));
    await this.done('vm create web1 --disk os=os.raw');
  }

  /** Starts the server and waits until it is ready. */
  async serve(
    words = '',
    environment: Readonly<Record<string, string>> = {},
  ): Promise<Kept & { readonly ready: Ready }> {
    const server = this.type(`serve --json ${words}`.trim(), environment);
    await server.until(() => (server.out.includes('\n') ? true : null));
    return Object.assign(server, { ready: JSON.parse(server.out) as Ready });
  }

  /** Kills what still runs and removes the folder. */
  async remove(): Promise<void> {
    for (const { child } of this.#running) if (child.exitCode === null) child.kill('SIGKILL');
    await Promise.all(this.#running.map(({ ended }) => ended));
    rmSync(this.folder, { recursive: true, force: true });
  }
}
