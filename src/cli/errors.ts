/**
 * Turns whatever a command threw into the one form that users see: code, message, action, context and exit code.
 *
 * Exit codes: 2 for `ARGUMENT_INVALID` (the command line is wrong), 128 + n for a command that a signal ended, 1 for
 * everything else.
 */

import { plainFailure, type PlainFailure } from '../control/failure.js';
import { errorTable } from '../store/errors.js';
import { formatBytes } from './render/units.js';
import { bold, red, type Style } from './render/style.js';
import { Interruption } from './shell.js';

/** An error as a user sees it. */
export interface ErrorReport extends PlainFailure {
  readonly exitCode: number;
  readonly stack: string | null;
}

/** The command line does not parse. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  /** The command as it is typed, for the advice: `stillpoint vm create`. */
  readonly commandPath: string;

  constructor(message: string, commandPath: string) {
    super(message);
    this.commandPath = commandPath;
  }
}

function describe(error: unknown): PlainFailure {
  if (error instanceof UsageError) {
    const action = `Run '${error.commandPath} --help' to see how it is used.`;
    return { code: 'ARGUMENT_INVALID', message: error.message, action, context: {} };
  }
  if (error instanceof Interruption) {
    return { code: 'CANCELLED', message: error.message, action: errorTable.CANCELLED.action, context: {} };
  }
  return plainFailure(error);
}

/** The report of anything thrown; `signal` tells whether the user had asked the command to end. */
export function reportOf(error: unknown, signal: AbortSignal): ErrorReport {
  const described = describe(error);
  const reason: unknown = signal.reason;
  const stack = error instanceof Error ? (error.stack ?? null) : null;
  if (described.code === 'CANCELLED' && reason instanceof Interruption) {
    return { ...described, exitCode: reason.exitCode, stack };
  }
  return { ...described, exitCode: described.code === 'ARGUMENT_INVALID' ? 2 : 1, stack };
}

/** The report as `--json` prints it. */
export function errorJson(report: ErrorReport): string {
  const { code, message, action, context } = report;
  return `${JSON.stringify({ error: { code, message, action, context } })}\n`;
}

function words(name: string): string {
  return name.replace(/(?<=[a-z0-9])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

/** Context that the message does not have already, a line for each value. */
function contextLines(report: ErrorReport): string[] {
  const lines: string[] = [];
  for (const [name, value] of Object.entries(report.context)) {
    const values = (Array.isArray(value) ? (value as readonly string[]) : [value as string | number]).map((each) =>
      typeof each === 'number' && name.endsWith('Bytes') ? `${formatBytes(each)} (${each} bytes)` : String(each),
    );
    if (values.length === 0 || values.every((each) => report.message.includes(each))) continue;
    const label = `${words(name.replace(/Bytes$/, ''))}: `;
    const joined = values.join(', ');
    if (joined.length <= 80) {
      lines.push(label + joined);
      continue;
    }
    values.forEach((each, index) => lines.push(`${index === 0 ? label : ' '.repeat(label.length)}${each}`));
  }
  return lines;
}

/** The report as people read it. */
export function errorText(report: ErrorReport, style: Style, debug: boolean): string {
  const lines = [
    `${red(style, bold(style, 'error:'))} ${report.message} (${report.code})`,
    `  ${report.action}`,
    ...contextLines(report).map((line) => `  ${line}`),
  ];
  if (debug && report.stack !== null) lines.push('', report.stack);
  return `${lines.join('\n')}\n`;
}
