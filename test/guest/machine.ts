/** A QEMU process with the guest in it, and what is said on its console. */

import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

import { requireTool } from '../house/tools.js';
import { workerCount, type Found } from './transactions.js';

const qemu = requireTool('qemu-system-x86_64');

/** Why there can be no guest here; null when there can. */
export function reasonAgainstMachine(): string | null {
  return qemu.isMissing ? 'need QEMU' : null;
}

/** How long the guest may need for anything that is waited for, on a machine that is busy with other things. */
const waitedMsMax = 120_000;

interface Waiting {
  readonly isDone: () => boolean;
  readonly done: () => void;
}

/** A guest that was started. */
export class GuestMachine {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #committed = Array.from({ length: workerCount }, () => 0);
  readonly #found: { os: number[]; data: number[] } = { os: [], data: [] };
  readonly #waiting = new Set<Waiting>();
  readonly #said: string[] = [];
  #isReady = false;
  #failure: string | null = null;
  #isOver = false;

  /** Runs a command of the recipes. There is no KVM here that a test could rely on. */
  constructor([program, ...args]: readonly string[]) {
    if (program !== qemu.name) throw new Error(`not a command for QEMU: ${program}`);
    this.#child = spawn(qemu.path, [...args, '-accel', 'tcg', '-no-reboot'], { stdio: ['pipe', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream !== null) createInterface(stream).on('line', (line) => this.#hear(line));
    }
    // A guest that is gone hears nothing, which is no error.
    this.#child.stdin?.on('error', () => undefined);
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', () => {
        this.#isOver = true;
        this.#look();
        resolve();
      });
    });
  }

  /** What the guest found on its disks when it started. */
  async found(): Promise<Found> {
    await this.#until(() => this.#isReady, 'the guest is ready');
    return this.#found;
  }

  /** Lets the workers begin. */
  work(): void {
    this.#child.stdin?.write('work\n');
  }

  /** The numbers of the last transactions that the guest said are committed, one for each worker. */
  get committed(): readonly number[] {
    return [...this.#committed];
  }

  /** Resolves when every worker has committed so many more. */
  async committedMore(count: number): Promise<void> {
    const wanted = this.committed.map((number) => number + count);
    const isDone = (): boolean => this.#committed.every((number, worker) => number >= (wanted[worker] ?? 0));
    await this.#until(isDone, `each worker has committed ${count} more`);
  }

  /** Takes the guest away in the middle of what it does. Without effect on one that has ended. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  /** Resolves when something holds that the console tells. Throws where the guest fails, ends, or takes too long. */
  async #until(isDone: () => boolean, what: string): Promise<void> {
    const limit = setTimeout(() => {
      this.#failure ??= `not within ${waitedMsMax} ms: ${what}`;
      this.#look();
    }, waitedMsMax);
    await new Promise<void>((resolve) => {
      this.#waiting.add({ isDone: () => this.#failure !== null || this.#isOver || isDone(), done: resolve });
      this.#look();
    });
    clearTimeout(limit);
    if (isDone()) return;
    throw new Error(`${this.#failure ?? 'the guest ended'}; it said last:\n${this.#said.slice(-20).join('\n')}`);
  }

  #hear(line: string): void {
    this.#said.push(line);
    const [word, ...values] = line.trim().split(' ');
    const [worker = 0, first = 0, second = 0] = values.map(Number);
    if (word === 'committed') this.#committed[worker] = first;
    if (word === 'found') {
      this.#found.os[worker] = first;
      this.#found.data[worker] = second;
      this.#committed[worker] = second;
    }
    if (word === 'ready') this.#isReady = true;
    if (word === 'failed') this.#failure = line;
    this.#look();
  }

  #look(): void {
    for (const waiting of this.#waiting) {
      if (!waiting.isDone()) continue;
      this.#waiting.delete(waiting);
      waiting.done();
    }
  }
}
