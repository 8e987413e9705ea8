/** Runs the cases of a suite with tinybench and turns its figures into ours: per operation, median and spread. */

import { Bench } from 'tinybench';

import type { BenchSize, MicroCase, Suite } from './suite.js';

export interface MicroFigure {
  readonly suite: string;
  readonly case: string;
  readonly unit: string;
  /** Of one operation. */
  readonly medianMicroseconds: number;
  /** Median distance of the runs from their median: what half of them stay within. */
  readonly deviationMicroseconds: number;
  readonly minMicroseconds: number;
  readonly runs: number;
  readonly bytesPerSecond: number | null;
  readonly expectedMicroseconds: number;
}

/** Runs all cases of a suite, one after the other. */
export async function measure(suite: Suite, size: BenchSize): Promise<MicroFigure[]> {
  const open = await suite.open(size);
  try {
    const figures: MicroFigure[] = [];
    for (const each of open.cases) figures.push(await measureCase(suite, each, size));
    return figures;
  } finally {
    await open.close?.();
  }
}

async function measureCase(suite: Suite, each: MicroCase, size: BenchSize): Promise<MicroFigure> {
  const { timeMs: time, iterations } = size;
  const bench = new Bench({ time, iterations, warmupTime: time / 5, warmupIterations: 2, throws: true });
  bench.add(each.name, each.run);
  const [task] = await bench.run();
  if (task?.result.state !== 'completed') throw new Error(`${suite.name}: ${each.name} did not complete`);
  const { latency } = task.result;
  const microseconds = (ms: number): number => (ms * 1_000) / each.operations;
  const median = microseconds(latency.p50);
  return {
    suite: suite.name,
    case: each.name,
    unit: each.unit,
    medianMicroseconds: median,
    deviationMicroseconds: microseconds(latency.mad),
    minMicroseconds: microseconds(latency.min),
    runs: latency.samplesCount,
    bytesPerSecond: each.bytes === null || median === 0 ? null : (each.bytes / median) * 1e6,
    expectedMicroseconds: each.expectedMicroseconds,
  };
}
