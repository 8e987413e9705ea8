/** Command lines against the real library, each a process of its own as far as the store can tell. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import { run } from '../../src/cli/run.js';
import { commandClock } from '../../src/control/clock.js';
import { library } from '../../src/control/library.js';
import { KeepingStream, wordsOf } from './fake-shell.js';

/** What a command line printed with `--json`, on whichever stream. */
export interface Typed {
  readonly code: number;
  readonly answer: Record<string, unknown>;
}

/** A directory of each test's own, and what is typed in it. */
export class RealShell {
  #directory = '';

  /** Makes the directory before each test of the file and removes it after. */
  constructor() {
    beforeEach(() => {
      this.#directory = mkdtempSync(join(tmpdir(), 'stillpoint-test-'));
    });
    afterEach(() => {
      rmSync(this.#directory, { recursive: true, force: true });
    });
  }

  get directory(): string {
    return this.#directory;
  }

  /** Runs a command line with `--json`. */
  async type(line: string): Promise<Typed> {
    const stream = new KeepingStream();
    const code = await run([...wordsOf(line), '--json'], {
      stdout: stream,
      stderr: stream,
      environment: {},
      workingDirectory: this.#directory,
      library,
      clock: commandClock,
      zoneOffsetMinutes: () => 0,
      signal: new AbortController().signal,
    });
    return { code, answer: JSON.parse(stream.text) as Record<string, unknown> };
  }

  /** The same for one that has to succeed. */
  async done(line: string): Promise<Record<string, unknown>> {
    const { code, answer } = await this.type(line);
    expect({ line, code, answer: code === 0 ? null : answer }).toEqual({ line, code: 0, answer: null });
    return answer;
  }
}
