/**
 * One line on the terminal that tells how far a long command is, and nothing in a pipe.
 *
 * The line appears when a command has run for a moment, so that short ones do not flicker, and is removed before the
 * command's answer is printed.
 */

import type { Options, Params, SingleBar } from 'cli-progress';
import type { CommandClock } from '../control/clock.js';
import type { TaskProgress } from '../control/context.js';
import type { Output } from './output.js';
import { formatBytes, formatRate } from './render/units.js';

/** How long a command runs before the line appears. */
const delayMs = 200;
/** Weight of the newest second in the shown rate. */
const rateWeight = 0.3;

/** What the line shows. */
export interface ProgressView {
  readonly task: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number;
}

/** `0:04`, `12:30`, `1:02:30`. */
function formatRemaining(seconds: number): string {
  const two = (count: number): string => String(count).padStart(2, '0');
  const whole = Math.ceil(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** The line for a terminal of the given width. The bar takes what the figures leave, and goes where that is too little. */
export function progressLine(view: ProgressView, columns: number, bars: readonly [done: string, left: string]): string {
  const { task, doneBytes, totalBytes, bytesPerSecond } = view;
  if (totalBytes <= 0) return task.slice(0, columns - 1);
  const share = Math.min(1, doneBytes / totalBytes);
  const left = Math.max(0, totalBytes - doneBytes);
  const remaining = bytesPerSecond > 0 ? formatRemaining(left / bytesPerSecond) : '-:--';
  const figures = [
    `${Math.floor(share * 100)}%`.padStart(4),
    `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`.padStart(22),
    formatRate(bytesPerSecond).padStart(12),
    // Past the last byte come syncs and a commit, of which nobody knows how long they take.
    left === 0 ? 'finishing' : `${remaining} left`,
  ].join('  ');
  const room = Math.min(40, columns - 1 - task.length - figures.length - 4);
  if (room < 8) return `${task} ${figures}`.slice(0, columns - 1);
  const done = Math.round(share * room);
  return `${task}  ${bars[0].repeat(done)}${bars[1].repeat(room - done)} ${figures}`;
}

/** Whether the terminal shows more than ASCII. */
function isUnicode(environment: Readonly<Record<string, string | undefined>>): boolean {
  const locale = environment['LC_ALL'] || environment['LC_CTYPE'] || environment['LANG'] || '';
  return /utf-?8/iu.test(locale);
}

/** The progress line of one command. */
export class ProgressLine {
  readonly #output: Output;
  readonly #clock: CommandClock;
  readonly #bars: readonly [string, string];
  readonly #startedMs: number;
  #bar: SingleBar | null = null;
  #loading = false;
  #stopped = false;
  #ending = false;
  #view: ProgressView = { task: '', doneBytes: 0, totalBytes: 0, bytesPerSecond: 0 };
  /** Where and when the rate was last worked out. */
  #mark = { doneBytes: 0, timeMs: 0 };

  constructor(output: Output, clock: CommandClock, environment: Readonly<Record<string, string | undefined>>) {
    this.#output = output;
    this.#clock = clock;
    this.#bars = isUnicode(environment) ? ['\u2588', '\u2591'] : ['#', '.'];
    this.#startedMs = clock.monotonicMs();
  }

  /** Told by the command; cheap. */
  update(progress: TaskProgress): void {
    const timeMs = this.#clock.monotonicMs();
    this.#view = { ...progress, bytesPerSecond: this.#rate(progress, timeMs) };
    if (this.#stopped || timeMs - this.#startedMs < delayMs) return;
    if (this.#bar === null) void this.#start();
    else this.#bar.update(progress.doneBytes);
  }

  /** Says that the command was asked to end; it may need a moment to leave nothing half done. */
  showEnding(): void {
    this.#ending = true;
    this.#bar?.render();
  }

  /** Removes the line. */
  stop(): void {
    this.#stopped = true;
    this.#bar?.stop();
    this.#bar = null;
  }

  #text(): string {
    if (this.#ending) return `ending ${this.#view.task} (Ctrl-C again to kill)`.slice(0, this.#output.columns - 1);
    return progressLine(this.#view, this.#output.columns, this.#bars);
  }

  #rate(progress: TaskProgress, timeMs: number): number {
    const isNewTask = progress.task !== this.#view.task || progress.doneBytes < this.#mark.doneBytes;
    if (isNewTask) {
      this.#mark = { doneBytes: progress.doneBytes, timeMs };
      return 0;
    }
    const elapsedMs = timeMs - this.#mark.timeMs;
    const before = this.#view.bytesPerSecond;
    if (elapsedMs < 250) return before;
    const now = ((progress.doneBytes - this.#mark.doneBytes) * 1000) / elapsedMs;
    this.#mark = { doneBytes: progress.doneBytes, timeMs };
    return before === 0 ? now : before + rateWeight * (now - before);
  }

  async #start(): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    const { default: progress } = await import('cli-progress');
    if (this.#stopped) return;
    const options: Options = {
      stream: this.#output.stream,
      format: (_options: Options, _params: Params) => this.#text(),
      fps: 10,
      clearOnComplete: true,
      // Nothing that a second Ctrl-C would leave switched off: the line keeps within the width by itself.
      hideCursor: null,
      linewrap: true,
      // The command ends by its own signal handlers.
      gracefulExit: false,
    };
    this.#bar = new progress.SingleBar(options);
    this.#bar.start(1, 0);
  }
}
