/**
 * Runs one command: gives it its context, prints its answer, keeps the progress line off both.
 *
 * A command is a `Task`. Most return a result, which is printed as one JSON object or through their renderer; those
 * whose answer is too long to hold write it themselves.
 */

import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { CommandContext, OpeningNote, ReadOnlyReason } from '../control/context.js';
import { Output } from './output.js';
import { ProgressLine } from './progress.js';
import { wantsColour, yellow, type Style } from './render/style.js';
import type { Shell } from './shell.js';

/** Options that every command has. */
export interface GlobalOptions {
  readonly store?: string;
  readonly json?: true;
  readonly quiet?: true;
  readonly readOnly?: true;
  readonly threads?: number;
}

/** What a command that writes its answer itself is given. */
export interface Terminal {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly style: Style;
  readonly json: boolean;
  readonly shell: Shell;
  /** Removes the progress line; to be called before the first write. */
  readonly endProgress: () => void;
}

/** A command with a result. */
export interface ResultTask<Result> {
  run(context: CommandContext): Promise<Result>;
  /** For people; without a line feed at the end. Nothing is printed for an empty text. */
  render(result: Result, style: Style): string | Promise<string>;
  /** Remarks for people, on stderr. */
  notes?(result: Result, context: CommandContext): readonly string[] | Promise<readonly string[]>;
  /** When the command itself went well but its answer is bad news. */
  exitCode?(result: Result): number;
}

/** A command that writes its answer itself. */
export interface WritingTask {
  write(context: CommandContext, terminal: Terminal): Promise<void>;
}

/** Runs tasks on behalf of the program; commands know only this of what runs them. */
export interface Invoke {
  <Result>(command: Command, task: ResultTask<Result> | WritingTask): Promise<void>;
  readonly workingDirectory: string;
}

/** The directory of the store: `--store`, or STILLPOINT_STORE, or `./.stillpoint`. */
export function storePathOf(named: string | undefined, shell: Pick<Shell, 'environment' | 'workingDirectory'>): string {
  const fromEnvironment = shell.environment['STILLPOINT_STORE'];
  const path = named ?? (fromEnvironment === undefined || fromEnvironment === '' ? '.stillpoint' : fromEnvironment);
  return resolve(shell.workingDirectory, path);
}

const readOnlyNotes: Readonly<Record<ReadOnlyReason, string>> = {
  locked: 'another process has the store open for writing; this was a read-only look',
  denied: 'the store cannot be written here; this was a read-only look',
};

/** One run of the command line. */
export class Invocation {
  readonly shell: Shell;
  readonly stdout: Output;
  readonly stderr: Output;
  /** What the process is to end with, unless something is thrown. */
  exitCode = 0;

  constructor(shell: Shell) {
    this.shell = shell;
    this.stdout = new Output(shell.stdout);
    this.stderr = new Output(shell.stderr);
  }

  /** How text looks on one of the two streams. */
  styleOf(output: Output): Style {
    return {
      colour: wantsColour(output.isTerminal, this.shell.environment),
      columns: output.columns,
      zoneOffsetMinutes: this.shell.zoneOffsetMinutes,
    };
  }

  /** Runs a task with the options that its command was given. */
  async run<Result>(command: Command, task: ResultTask<Result> | WritingTask): Promise<void> {
    const options = command.optsWithGlobals<GlobalOptions>();
    const progress = new ProgressLine(this.stderr, this.shell.clock, this.shell.environment);
    const showProgress = this.stderr.isTerminal && options.quiet !== true;
    const talks = options.json !== true && options.quiet !== true;
    const notes: Promise<void>[] = [];
    let readOnlyLook = null as ReadOnlyReason | null;
    this.shell.signal.addEventListener('abort', () => {
      progress.showEnding();
    });
    const context: CommandContext = {
      library: this.shell.library,
      storePath: storePathOf(options.store, this.shell),
      held: null,
      readOnly: options.readOnly === true,
      threads: options.threads ?? null,
      clock: this.shell.clock,
      signal: this.shell.signal,
      onProgress: (now) => {
        if (showProgress) progress.update(now);
      },
      onReadOnlyLook: (why) => {
        readOnlyLook = why;
      },
      onFindings: (findings) => {
        if (talks) notes.push(this.#noteFindings(findings));
      },
    };
    try {
      if ('write' in task) {
        await task.write(context, this.#terminal(options, progress));
        return;
      }
      const result = await task.run(context);
      progress.stop();
      await Promise.all(notes);
      this.exitCode = task.exitCode?.(result) ?? 0;
      if (options.json === true) {
        await this.stdout.write(`${JSON.stringify(result)}\n`);
        return;
      }
      const text = await task.render(result, this.styleOf(this.stdout));
      if (text !== '') await this.stdout.write(`${text}\n`);
      if (!talks) return;
      for (const note of (await task.notes?.(result, context)) ?? []) await this.#note(note);
      if (readOnlyLook !== null) await this.#note(readOnlyNotes[readOnlyLook]);
    } finally {
      progress.stop();
    }
  }

  #terminal(options: GlobalOptions, progress: ProgressLine): Terminal {
    return {
      stdout: this.stdout,
      stderr: this.stderr,
      style: this.styleOf(this.stdout),
      json: options.json === true,
      shell: this.shell,
      endProgress: () => {
        progress.stop();
      },
    };
  }

  async #note(text: string): Promise<void> {
    const style = this.styleOf(this.stderr);
    await this.stderr.writeIfOpen(`${yellow(style, 'note:')} ${text}\n`);
  }

  async #noteFindings(findings: readonly OpeningNote[]): Promise<void> {
    for (const { file, code, message } of findings) await this.#note(`${file}: ${message} (${code})`);
  }
}
