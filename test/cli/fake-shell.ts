/** Runs command lines in this process against a fake world, and keeps what they print. */

import { Writable } from 'node:stream';
import type { ProcessStream, Shell } from '../../src/cli/shell.js';
import { run } from '../../src/cli/run.js';
import { fakeLibrary } from './fake-library.js';
import { FakeWorld } from './fake-world.js';

/** A stream that keeps what is written to it. */
export class KeepingStream extends Writable {
  text = '';
  readonly isTTY: boolean;
  readonly columns: number = 100;
  /** Of all writes, the longest. */
  longestWrite = 0;

  constructor(isTTY = false) {
    super({ decodeStrings: false });
    this.isTTY = isTTY;
  }

  override _write(text: string, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.text += text;
    this.longestWrite = Math.max(this.longestWrite, text.length);
    done();
  }
}

/** A stream whose reader goes after the given number of writes. */
export class ClosingStream extends KeepingStream {
  #left: number;

  constructor(writes: number) {
    super();
    this.#left = writes;
  }

  override _write(text: string, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#left -= 1;
    if (this.#left >= 0) super._write(text, encoding, done);
    else done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
  }
}

/** A stream into a full disk. */
export class FullStream extends KeepingStream {
  override _write(_text: string, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    done(Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' }));
  }
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface ShellOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly stdout?: ProcessStream;
  readonly stderr?: ProcessStream;
  readonly workingDirectory?: string;
  readonly zoneOffsetMinutes?: number;
}

/** A user at a prompt. */
export class FakeUser {
  readonly world: FakeWorld;

  constructor(world: FakeWorld = new FakeWorld()) {
    this.world = world;
  }

  shell(options: ShellOptions = {}): Shell & { stdout: ProcessStream; stderr: ProcessStream } {
    return {
      stdout: options.stdout ?? new KeepingStream(),
      stderr: options.stderr ?? new KeepingStream(),
      environment: options.environment ?? { STILLPOINT_STORE: '/backup/store' },
      workingDirectory: options.workingDirectory ?? '/data',
      library: fakeLibrary(this.world),
      clock: this.world.clock,
      zoneOffsetMinutes: () => options.zoneOffsetMinutes ?? 0,
      signal: options.signal ?? new AbortController().signal,
    };
  }

  /** Runs one command line given as words. */
  async run(words: readonly string[], options: ShellOptions = {}): Promise<Ran> {
    const shell = this.shell(options);
    const code = await run(words, shell);
    const textOf = (stream: ProcessStream): string => (stream instanceof KeepingStream ? stream.text : '');
    return { code, out: textOf(shell.stdout), err: textOf(shell.stderr) };
  }

  /** Runs `stillpoint LINE`; words are separated by blanks, and quoted where they have some. */
  async type(line: string, options: ShellOptions = {}): Promise<Ran> {
    return this.run(wordsOf(line), options);
  }
}

/** The words of a line, without the quotes around them. */
export function wordsOf(line: string): string[] {
  return (line.match(/'[^']*'|\S+/gu) ?? []).map((word) => word.replace(/^'(.*)'$/u, '$1'));
}

/** A user with a store, a machine of two disks, and two restore points. */
export async function userWithPoints(): Promise<FakeUser> {
  const user = new FakeUser();
  user.world.images.set('/images/os.raw', 8 * 1024 ** 3);
  user.world.images.set('/images/data.raw', 4 * 1024 ** 3);
  await user.type('init');
  await user.type('vm create web1 --external os=/images/os.raw --external data=/images/data.raw');
  await user.type('capture web1 --name rp1');
  user.world.pass(86_400_000);
  await user.type('capture web1 --name rp2');
  return user;
}
