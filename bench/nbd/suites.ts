/**
 * How fast are disks over NBD, beside other servers in the same run?
 *
 * Unit: fio's NBD engine over a Unix socket, each server with a new disk of its own, in turn, so that what else the machine does
 * hits all alike; medians. `large`: 1 MiB requests at depth 32: reads of what was just written and lies in the log, writes past
 * what a log may have before it is copied, and reads of that once it is. `small`: 4 KiB
 * reads, writes and both mixed over 64 MiB that were just written, at depth 1 and 32, over one connection and four. `packs`: 4 KiB
 * reads of data that is copied and mostly not in memory. `copy`: the longest of 1,000 mixed requests beside a copy and without.
 * Expected: a request is one receive, a look-up, a copy and one send, for many requests together at depth 32: twice qemu-nbd; a
 * write is checked and logged besides; a read of copied data decodes and proves 64 KiB for 4.
 */

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';

import { leastOf, mostOf, type Bar, type Figure } from '../figure.js';
import { spreadOf } from '../spread.js';
import { fio, type Load, type Measured } from './fio.js';
import { ours, type Contender, type Served } from './servers.js';
import type { NbdSize } from './size.js';

const KiB = 1024;
const MiB = 2 ** 20;
const peer = 'qemu-nbd, qcow2';
const ideal = 'nbdkit memory';

export interface NbdContext {
  readonly size: NbdSize;
  /** An empty directory of the suite's own, removed afterwards. */
  readonly directory: string;
  readonly contenders: readonly Contender[];
  readonly say: (line: string) => void;
}

export interface NbdSuite {
  readonly name: string;
  readonly question: string;
  readonly run: (context: NbdContext) => Promise<readonly Figure[]>;
}

export const suites: readonly NbdSuite[] = [
  { name: 'large', question: 'How fast are 1 MiB requests?', run: large },
  { name: 'small', question: 'How many 4 KiB requests are there in a second?', run: small },
  { name: 'packs', question: 'And of copied data that is mostly not in memory?', run: packs },
  { name: 'copy', question: 'What does a client notice of a background copy?', run: copy },
];

/** Runs a suite in a directory of its own below `place`, which is removed afterwards. */
export async function runSuite(
  suite: NbdSuite,
  place: string,
  context: Omit<NbdContext, 'directory'>,
): Promise<readonly Figure[]> {
  const directory = await mkdtemp(path.join(place, `stillpoint-nbd-${suite.name}-`));
  try {
    return await suite.run({ ...context, directory });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What a load must reach. */
interface Bars {
  readonly ofPeer?: Bar;
  readonly ofIdeal?: Bar;
}

/** What was measured, by contender and load. */
class Results {
  readonly #values = new Map<string, Map<string, number[]>>();

  add(load: string, contender: string, value: number): void {
    const byContender = this.#values.get(load) ?? new Map<string, number[]>();
    this.#values.set(load, byContender.set(contender, [...(byContender.get(contender) ?? []), value]));
  }

  /** The rate of each, and ours over the others'. */
  figures(suite: string, unit: string, barsOf: (load: string) => Bars): Figure[] {
    const most = mostOf(suite);
    return [...this.#values].flatMap(([load, byContender]) => {
      const rates = [...byContender].map(([name, values]) => most(`${load}: ${name}`, values, unit));
      const of = (name: string): number => spreadOf(byContender.get(name) ?? [])?.median ?? Number.NaN;
      const ratios = [
        most(`${load}: over ${peer}`, of(ours) / of(peer), 'times', barsOf(load).ofPeer),
        most(`${load}: over ${ideal}`, of(ours) / of(ideal), 'times', barsOf(load).ofIdeal),
      ];
      return [...rates, ...ratios.filter(({ value }) => Number.isFinite(value))];
    });
  }
}

/** Gives each contender in turn a new disk, and work on it. */
async function eachServed(
  { size, directory, contenders }: NbdContext,
  work: (name: string, served: Served) => Promise<void>,
): Promise<void> {
  for (const [index, contender] of contenders.entries()) {
    const own = path.join(directory, String(index));
    await mkdir(own, { recursive: true });
    const served = await contender.serve(own, size.diskBytes);
    try {
      await work(contender.name, served);
    } finally {
      await served.stop();
    }
  }
}

async function large(context: NbdContext): Promise<Figure[]> {
  const { size, say } = context;
  const results = new Results();
  const load = { blockBytes: MiB, depth: 32, connections: 1 } as const;
  for (let run = 0; run < size.runs; run += 1) {
    await eachServed(context, async (name, served) => {
      const measured = async (what: string, kind: 'read' | 'write', sizeBytes: number): Promise<void> => {
        const seconds = kind === 'read' ? size.seconds : null;
        const { bytesPerSecond } = await fio(served, { ...load, kind, sizeBytes, seconds });
        results.add(what, name, bytesPerSecond / MiB);
        say(`large: ${name}: ${what}: ${rate(bytesPerSecond / MiB)} MiB/s`);
      };
      await filled(served, size.logBytes);
      await measured('read', 'read', size.logBytes);
      await measured('write', 'write', size.largeBytes);
      if (name === ours) await served.capture();
      await measured('read of copied data', 'read', size.largeBytes);
    });
  }
  const bars = { read: { ofPeer: { must: 1.2 }, ofIdeal: { must: 0.8 } }, write: { ofPeer: { must: 1.2 } } };
  return results.figures('large', 'MiB/s', (what) => (what === 'read' || what === 'write' ? bars[what] : {}));
}

async function small(context: NbdContext): Promise<Figure[]> {
  const { size, say } = context;
  const results = new Results();
  for (let run = 0; run < size.runs; run += 1) {
    await eachServed(context, async (name, served) => {
      await filled(served, size.smallBytes);
      for (const kind of ['randread', 'randwrite', 'randrw'] as const) {
        for (const depth of [1, 32]) {
          for (const connections of [1, 4]) {
            const load: Load = {
              kind,
              depth,
              connections,
              blockBytes: 4 * KiB,
              sizeBytes: size.smallBytes,
              seconds: size.seconds,
            };
            const { perSecond } = await fio(served, load);
            const what = `${kind}, depth ${depth}, ${connections} ${connections === 1 ? 'connection' : 'connections'}`;
            results.add(what, name, perSecond);
            say(`small: ${name}: ${what}: ${rate(perSecond)} a second`);
          }
        }
      }
    });
  }
  return results.figures('small', 'per s', () => ({ ofPeer: { must: 1.2 } }));
}

async function packs(context: NbdContext): Promise<Figure[]> {
  const { size, say } = context;
  const results = new Results();
  await eachServed(context, async (name, served) => {
    await filled(served, size.copiedBytes);
    if (name === ours) await served.capture();
    for (let run = 0; run < size.runs; run += 1) {
      for (const depth of [1, 32]) {
        const load = { kind: 'randread', depth, connections: 1, blockBytes: 4 * KiB, seconds: size.seconds } as const;
        const { perSecond } = await fio(served, { ...load, sizeBytes: size.copiedBytes });
        results.add(`depth ${depth}`, name, perSecond);
        say(`packs: ${name}: depth ${depth}: ${rate(perSecond)} a second`);
      }
    }
  });
  return results.figures('packs', 'per s', () => ({ ofPeer: { must: 0.3, aim: 1 } }));
}

async function copy(context: NbdContext): Promise<Figure[]> {
  const { size, say } = context;
  const least = leastOf('copy');
  const alone: Measured[] = [];
  const beside: Measured[] = [];
  const only = context.contenders.filter(({ name }) => name === ours);
  await eachServed({ ...context, contenders: only }, async (_, served) => {
    const load = { kind: 'randrw', depth: 4, connections: 1, blockBytes: 4 * KiB, seconds: 1 } as const;
    for (let run = 0; run < 2 * size.runs; run += 1) {
      const isBeside = run % 2 === 1;
      await filled(served, size.logBytes);
      if (!isBeside) await served.capture();
      const copied = isBeside ? served.capture() : null;
      const measured = await fio(served, { ...load, sizeBytes: size.smallBytes });
      await copied;
      await served.capture(); // so that every run begins with a short log
      (isBeside ? beside : alone).push(measured);
      say(`copy: ${isBeside ? 'beside a copy' : 'alone'}: p99.9 ${measured.p999.toFixed(3)} ms`);
    }
  });
  const p999 = (of: readonly Measured[]): number[] => of.map((each) => each.p999);
  const median = (of: readonly Measured[]): number => spreadOf(p999(of))?.median ?? Number.NaN;
  return [
    least('p99.9 alone', p999(alone), 'ms'),
    least('p99.9 beside a copy', p999(beside), 'ms'),
    least('beside over alone', median(beside) / median(alone), 'times', { must: 2 }),
  ];
}

/** Writes the disk's beginning once. */
async function filled(served: Served, sizeBytes: number): Promise<void> {
  await fio(served, { kind: 'write', blockBytes: MiB, depth: 8, connections: 1, sizeBytes, seconds: null });
}

function rate(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}
