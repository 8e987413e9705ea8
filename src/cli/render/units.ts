/** Numbers, times and modes as people read them. */

import type { ConsistencyMode } from '../../store/units.js';
import type { Style } from './style.js';

const byteUnits = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `512 B`, `12.3 MiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let amount = bytes;
  let unit: string = 'B';
  for (const next of byteUnits) {
    // 1023.95 would be shown as 1024.0 of the smaller unit.
    if (amount < 1023.95) break;
    amount /= 1024;
    unit = next;
  }
  return `${amount.toFixed(1)} ${unit}`;
}

/** A size that somebody chose: `64 KiB`, and `96.5 KiB` where it is not whole. */
export function formatChosenBytes(bytes: number): string {
  return formatBytes(bytes).replace(/\.0 /u, ' ');
}

/** `1,234,567`. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `1 point`, `1,200 points`. */
export function formatCountOf(count: number, one: string, many: string): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** `0.4 ms`, `820 ms`, `3.1 s`, `2 min 05 s`, `1 h 02 min`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 9.95) return `${durationMs.toFixed(1)} ms`;
  if (durationMs < 999.5) return `${Math.round(durationMs)} ms`;
  if (durationMs < 59_950) return `${(durationMs / 1000).toFixed(1)} s`;
  const seconds = Math.round(durationMs / 1000);
  const two = (count: number): string => String(count).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** `812.3 MiB/s`; `-` where nothing took no time. */
export function formatRate(bytesPerSecond: number): string {
  return bytesPerSecond > 0 && Number.isFinite(bytesPerSecond) ? `${formatBytes(Math.round(bytesPerSecond))}/s` : '-';
}

/** Bytes over milliseconds. */
export function rateOf(bytes: number, durationMs: number): number {
  return durationMs > 0 ? (bytes * 1000) / durationMs : 0;
}

/** Local time with its zone: `2026-11-23 05:28:14 +01:00`, or `... UTC`. */
export function formatTime(timeMs: number, style: Style): string {
  const offset = style.zoneOffsetMinutes(timeMs);
  const text = new Date(timeMs + offset * 60_000).toISOString();
  const two = (count: number): string => String(count).padStart(2, '0');
  const distance = Math.abs(offset);
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(distance / 60))}:${two(distance % 60)}`;
  return `${text.slice(0, 10)} ${text.slice(11, 19)} ${offset === 0 ? 'UTC' : zone}`;
}

/** A consistency mode as `--consistency` has it. */
export function formatMode(mode: ConsistencyMode): string {
  if (mode === 'applicationConsistent') return 'application';
  return mode === 'fileSystemConsistent' ? 'file-system' : 'crash';
}
