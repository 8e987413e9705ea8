/** fio's NBD engine: one run against one server. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import type { Served } from './servers.js';

const run = promisify(execFile);

/** What fio is to do. */
export interface Load {
  readonly kind: 'read' | 'write' | 'randread' | 'randwrite' | 'randrw';
  readonly blockBytes: number;
  readonly depth: number;
  /** Each with a part of the disk of its own. */
  readonly connections: number;
  /** Of the disk's beginning, over all connections. */
  readonly sizeBytes: number;
  /** Runs over the bytes again and again for so long; null: once. */
  readonly seconds: number | null;
}

/** What it measured, reads and writes together. */
export interface Measured {
  readonly perSecond: number;
  readonly bytesPerSecond: number;
  /** Of a request, milliseconds. */
  readonly p50: number;
  readonly p999: number;
}

interface Direction {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

/** Runs fio until it ends, or until the signal. */
export async function fio(served: Served, load: Load): Promise<Measured> {
  const part = Math.floor(load.sizeBytes / load.connections);
  const parameters = [
    '--name=load',
    '--ioengine=nbd',
    `--uri=nbd+unix:///${served.exportName}?socket=${served.socket}`,
    `--rw=${load.kind}`,
    `--bs=${load.blockBytes}`,
    `--iodepth=${load.depth}`,
    `--numjobs=${load.connections}`,
    `--size=${part}`,
    `--offset_increment=${part}`,
    '--randseed=7',
    '--group_reporting',
    '--output-format=json',
    ...(load.seconds === null ? [] : ['--time_based', `--runtime=${load.seconds}`]),
  ];
  const { stdout } = await run('fio', parameters, { maxBuffer: 64 * 2 ** 20 });
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { readonly jobs: readonly Record<string, unknown>[] };
  const [job] = report.jobs;
  if (job === undefined) throw new Error('fio told of no job');
  // A cast: fio's own format.
  const directions = [job['read'], job['write']] as readonly Direction[];
  const percentile = (name: string): number => {
    return Math.max(...directions.map(({ clat_ns: { percentile: known } }) => known?.[name] ?? 0)) / 1e6;
  };
  return {
    perSecond: directions.reduce((sum, { iops }) => sum + iops, 0),
    bytesPerSecond: directions.reduce((sum, { bw_bytes: bytes }) => sum + bytes, 0),
    p50: percentile('50.000000'),
    p999: percentile('99.900000'),
  };
}
