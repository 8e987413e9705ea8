/**
 * What a server tells of itself: one record a line on stderr.
 *
 * As JSON for programs: `{"level":"info","time":"2026-11-29T22:43:11.000Z","pid":1,"msg":"...", ...}`. As text for people:
 * `22:43:11 info  msg name=value`.
 */

import { pino } from 'pino';

import type { Clock } from '../store/clock.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface LogOptions {
  readonly format: 'json' | 'text';
  readonly level: LogLevel;
  readonly clock: Clock;
  readonly write: (line: string) => void;
}

/** Values that say what a record is about. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Where a server writes what happens. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

function valueText(value: unknown): string {
  if (typeof value === 'string' && /^[\w./:@+-]+$/u.test(value)) return value;
  return JSON.stringify(value);
}

/** A record as people read it; the time is UTC. */
export function recordText(line: string): string {
  // A cast: the line is what the logger below has made.
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const shown = Object.entries(fields).filter(([name]) => name !== 'pid');
  const values = shown.map(([name, value]) => ` ${name}=${valueText(value)}`);
  return `${String(time).slice(11, 19)} ${String(level).padEnd(5)} ${String(msg)}${values.join('')}\n`;
}

/** Opens the log. */
export function openLog({ format, level, clock, write }: LogOptions): Log {
  const logger = pino(
    {
      level,
      base: { pid: process.pid },
      formatters: { level: (label) => ({ level: label }) },
      timestamp: () => `,"time":"${new Date(clock.nowMs()).toISOString()}"`,
    },
    { write: (line: string) => write(format === 'json' ? line : recordText(line)) },
  );
  return {
    debug: (message, fields = {}) => logger.debug(fields, message),
    info: (message, fields = {}) => logger.info(fields, message),
    warn: (message, fields = {}) => logger.warn(fields, message),
    error: (message, fields = {}) => logger.error(fields, message),
  };
}
