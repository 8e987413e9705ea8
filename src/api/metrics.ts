/**
 * The figures of a server for Prometheus.
 *
 * Gauges of the store are asked for when they are scraped; calls are counted when they are answered.
 */

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

import type { AnsweredCall, ControlStatistics } from '../control/server.js';
import type { Store, StoreStatus } from '../index.js';

/** Where the figures come from. */
export interface MetricSources {
  readonly version: string;
  readonly store: Pick<Store, 'info' | 'findings' | 'status'>;
  readonly control: () => ControlStatistics;
  /** Null without NBD. */
  readonly nbd: () => { readonly clients: number; readonly refused: number } | null;
}

/** The metrics of one server. */
export interface Metrics {
  /** The media type of `text`. */
  readonly contentType: string;
  /** All metrics in the text format. */
  text(): Promise<string>;
  /** Counts a call of the control socket. */
  answered(call: AnsweredCall): void;
  /** Counts an event of the store. */
  happened(kind: string): void;
}

/** A gauge, its help, and its value in a status. */
const storeGauges: readonly (readonly [name: string, help: string, value: (status: StoreStatus) => number])[] = [
  ['machines', 'Virtual machines.', ({ machines }) => machines],
  ['points', 'Restore points.', ({ points }) => points],
  ['disks', 'Managed disks.', ({ disks }) => disks],
  ['chunks', 'Chunks in the packs.', ({ chunkCount }) => chunkCount],
  ['packs', 'Pack files.', ({ packCount }) => packCount],
  ['available_bytes', 'Bytes that the file system has free for the store.', ({ availableBytes }) => availableBytes],
  ['write_log_bytes', 'Bytes of all write logs.', ({ live }) => live.logBytes],
  ['write_log_debt_bytes', 'Bytes of the logs that are still to be copied.', ({ live }) => live.debtBytes],
  ['write_log_available_bytes', 'Bytes that writers of live disks may still write.', ({ live }) => live.availableBytes],
  ['layers', 'Layers of all write logs.', ({ live }) => live.layers],
  ['write_logs_failed', 'Write logs that take no writes or are not open.', ({ failedLogs }) => failedLogs.length],
  ['copies_running', 'Points whose background copy is under way.', ({ work }) => countOf(work, 'cut')],
  ['captures_running', 'Captures that run.', ({ work }) => countOf(work, 'creating')],
  ['deletions_running', 'Deletions that run.', ({ work }) => countOf(work, 'deleting')],
];

function countOf(work: StoreStatus['work'], state: string): number {
  return work.filter((each) => each.state === state).length;
}

/** Makes the metrics of a server. */
export function createMetrics({ version, store, control, nbd }: MetricSources): Metrics {
  const registers = [new Registry()];
  const [registry = new Registry()] = registers;
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'stillpoint_info',
    help: 'What serves which store; always 1.',
    labelNames: ['version', 'store_id'],
    registers,
  }).set({ version, store_id: store.info.storeId }, 1);
  new Gauge({
    name: 'stillpoint_opening_findings',
    help: 'What opening the store found or put right.',
    registers,
  }).set(store.findings.length);
  const gauges = storeGauges.map(([name, help, value]) => {
    return { gauge: new Gauge({ name: `stillpoint_${name}`, help, registers }), value };
  });
  const stored = new Gauge({
    name: 'stillpoint_stored_bytes',
    help: 'Bytes that the store takes.',
    labelNames: ['kind'],
    registers,
  });
  const failed = new Gauge({
    name: 'stillpoint_write_log_failed',
    help: 'Always 1: the write log of this machine, or of this detached disk, takes no writes or is not open.',
    labelNames: ['machine', 'disk', 'code'],
    registers,
  });
  const calls = new Counter({
    name: 'stillpoint_control_calls_total',
    help: 'Calls of the control socket that were answered; code is ok or an error code.',
    labelNames: ['command', 'code'],
    registers,
  });
  const durations = new Histogram({
    name: 'stillpoint_control_call_seconds',
    help: 'How long calls of the control socket took.',
    labelNames: ['command'],
    buckets: [0.001, 0.01, 0.1, 1, 10, 60, 600, 3600],
    registers,
  });
  const events = new Counter({
    name: 'stillpoint_events_total',
    help: 'Events of the store.',
    labelNames: ['kind'],
    registers,
  });
  const sampled = [
    ...sampledOf('control', 'the control socket', control),
    ...sampledOf('nbd', 'NBD', () => nbd() ?? { clients: 0, refused: 0 }),
  ];
  const running = new Gauge({ name: 'stillpoint_control_calls_running', help: 'Calls that run.', registers });

  function sampledOf(
    what: string,
    words: string,
    statistics: () => { readonly clients: number; readonly refused: number },
  ): (() => void)[] {
    const clients = new Gauge({ name: `stillpoint_${what}_clients`, help: `Clients of ${words}.`, registers });
    const refused = new Counter({
      name: `stillpoint_${what}_clients_refused_total`,
      help: `Clients of ${words} that were turned away.`,
      registers,
    });
    return [
      () => {
        const now = statistics();
        clients.set(now.clients);
        refused.reset();
        refused.inc(now.refused);
      },
    ];
  }

  async function sample(): Promise<void> {
    const status = await store.status();
    for (const { gauge, value } of gauges) gauge.set(value(status));
    failed.reset();
    for (const { machine, disk, code } of status.failedLogs) {
      failed.set({ machine: machine ?? '', disk: disk ?? '', code }, 1);
    }
    stored.set({ kind: 'packs' }, status.packBytes);
    stored.set({ kind: 'index' }, status.indexBytes);
    stored.set({ kind: 'manifests' }, status.manifestBytes);
    for (const take of sampled) take();
    running.set(control().running);
  }

  let sampling: Promise<void> | null = null;
  return {
    contentType: registry.contentType,
    text: async () => {
      // Scrapes that come at once share one look at the store.
      sampling ??= sample().finally(() => {
        sampling = null;
      });
      await sampling;
      return registry.metrics();
    },
    answered: ({ command, code, durationMs }) => {
      calls.inc({ command, code: code ?? 'ok' });
      durations.observe({ command }, durationMs / 1000);
    },
    happened: (kind) => events.inc({ kind }),
  };
}
