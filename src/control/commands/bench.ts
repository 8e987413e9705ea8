/**
 * Measures capture and restore of given images in a store of its own.
 *
 * Steps: a first capture, a second of the unchanged images, a diff of the two, a restore of every disk, and the
 * comparison of each restored file with its image by SHA-256. Every step is timed as a library call in an open store
 * and reads the images through the page cache as it finds it; nothing is skipped because a time stamp did not change.
 */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { StillpointError } from '../../store/errors.js';
import { progressOf, type CommandContext } from '../context.js';
import type { RestorePoint, Store, StoreInfo } from '../../index.js';
import type { Compression } from '../library.js';
import { withStore } from '../opening.js';
import { countingExtents, onlyCount } from './diff.js';
import { init } from './init.js';

export interface BenchRequest {
  /** Absolute paths. */
  readonly images: readonly string[];
  /** Where the store and the restored files are made for the time of the run. */
  readonly directory: string;
  /** Leave them there. */
  readonly keep: boolean;
  readonly chunkBytes: number | null;
  readonly compression: Compression | null;
  readonly compressionLevel: number | null;
}

/** One timed step. */
export interface BenchStep {
  readonly step: 'captureFirst' | 'captureUnchanged' | 'diff' | 'restore' | 'compare';
  readonly durationMs: number;
  /** What the step went through: bytes read by a capture, written by a restore, compared. */
  readonly bytes: number;
  readonly bytesPerSecond: number;
  /** What the store grew by; null where the step stores nothing. */
  readonly bytesStored: number | null;
}

export interface BenchImage {
  readonly path: string;
  readonly role: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Whether the restored file has the same bytes. */
  readonly identical: boolean;
}

export interface BenchResult {
  readonly info: StoreInfo;
  readonly images: readonly BenchImage[];
  readonly steps: readonly BenchStep[];
  /** Packs, index and manifests at the end. */
  readonly storeBytes: number;
  readonly identical: boolean;
  /** Where store and files were left; null when they were removed. */
  readonly directory: string | null;
}

interface Disk {
  readonly role: string;
  readonly path: string;
}

const machineName = 'bench';

async function timed<Result>(
  context: CommandContext,
  step: BenchStep['step'],
  steps: BenchStep[],
  run: () => Promise<{ result: Result; bytes: number; bytesStored: number | null }>,
): Promise<Result> {
  const startedMs = context.clock.monotonicMs();
  const { result, bytes, bytesStored } = await run();
  const elapsedMs = context.clock.monotonicMs() - startedMs;
  const bytesPerSecond = elapsedMs > 0 ? Math.round((bytes * 1000) / elapsedMs) : 0;
  steps.push({ step, durationMs: Math.round(elapsedMs * 10) / 10, bytes, bytesPerSecond, bytesStored });
  return result;
}

async function sha256Of(context: CommandContext, path: string, onBytes: (count: number) => void): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(path, { highWaterMark: 1 << 20, signal: context.signal })) {
    const bytes = part as Buffer;
    hash.update(bytes);
    onBytes(bytes.length);
  }
  return hash.digest('hex');
}

async function captureStep(
  context: CommandContext,
  store: Store,
  step: 'captureFirst' | 'captureUnchanged',
  name: string,
  steps: BenchStep[],
): Promise<RestorePoint> {
  return timed(context, step, steps, async () => {
    const result = await store.capture(machineName, {
      name,
      signal: context.signal,
      onProgress: progressOf(context, `capture ${name}`),
    });
    return { result, bytes: result.captured.bytesRead, bytesStored: result.captured.bytesStored };
  });
}

async function diffStep(
  context: CommandContext,
  store: Store,
  disks: readonly Disk[],
  points: readonly [RestorePoint, RestorePoint],
  steps: BenchStep[],
): Promise<void> {
  await timed(context, 'diff', steps, async () => {
    const counts = { extentCount: 0, dataBytes: 0, zeroBytes: 0 };
    for (const { role } of disks) {
      const found = store.diff(points[0].reference, points[1].reference, { disk: role, signal: context.signal });
      await onlyCount({ ...(await found.header), extents: countingExtents(found, counts) });
    }
    return { result: undefined, bytes: counts.dataBytes + counts.zeroBytes, bytesStored: null };
  });
}

async function restoreStep(
  context: CommandContext,
  store: Store,
  disks: readonly Disk[],
  point: RestorePoint,
  targetOf: (disk: Disk) => string,
  steps: BenchStep[],
): Promise<void> {
  await timed(context, 'restore', steps, async () => {
    let bytes = 0;
    for (const disk of disks) {
      const report = await store.restore(point.reference, {
        disk: disk.role,
        to: targetOf(disk),
        sync: false,
        signal: context.signal,
        onProgress: progressOf(context, `restore ${disk.role}`),
      });
      bytes += report.bytesWritten;
    }
    return { result: undefined, bytes, bytesStored: null };
  });
}

async function compareStep(
  context: CommandContext,
  disks: readonly Disk[],
  targetOf: (disk: Disk) => string,
  steps: BenchStep[],
): Promise<BenchImage[]> {
  return timed(context, 'compare', steps, async () => {
    const result: BenchImage[] = [];
    let totalBytes = 0;
    let doneBytes = 0;
    for (const disk of disks) totalBytes += 2 * (await stat(disk.path)).size;
    const onBytes = (count: number): void => {
      doneBytes += count;
      context.onProgress({ task: 'compare', doneBytes, totalBytes });
    };
    for (const disk of disks) {
      const sha256 = await sha256Of(context, disk.path, onBytes);
      const identical = (await sha256Of(context, targetOf(disk), onBytes)) === sha256;
      const { size } = await stat(disk.path);
      result.push({ path: disk.path, role: disk.role, sizeBytes: size, sha256, identical });
    }
    return { result, bytes: doneBytes, bytesStored: null };
  });
}

async function makeDirectory(place: string): Promise<string> {
  try {
    return await mkdtemp(join(place, 'stillpoint-bench-'));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StillpointError(
      'TARGET_INVALID',
      `cannot make a directory in ${place}: ${reason}`,
      { path: place },
      error,
    );
  }
}

/** Runs the bench. What it made is removed at the end, also after a failure, unless `keep` is set. */
export async function bench(context: CommandContext, request: BenchRequest): Promise<BenchResult> {
  const directory = await makeDirectory(request.directory);
  const inner: CommandContext = { ...context, storePath: join(directory, 'store'), readOnly: false };
  const disks = request.images.map((path, index) => ({ role: `disk${index + 1}`, path }));
  const targetOf = (disk: Disk): string => join(directory, `${disk.role}-${basename(disk.path)}`);
  try {
    const { info } = await init(inner, request);
    const steps: BenchStep[] = [];
    return await withStore(inner, async (store) => {
      await store.createVirtualMachine({
        name: machineName,
        disks: disks.map(({ role, path }) => ({ role, external: path })),
      });
      const first = await captureStep(inner, store, 'captureFirst', 'first', steps);
      const second = await captureStep(inner, store, 'captureUnchanged', 'second', steps);
      await diffStep(inner, store, disks, [first, second], steps);
      await restoreStep(inner, store, disks, second, targetOf, steps);
      const images = await compareStep(inner, disks, targetOf, steps);
      const usage = await store.status();
      return {
        info,
        images,
        steps,
        storeBytes: usage.packBytes + usage.indexBytes + usage.manifestBytes,
        identical: images.every((image) => image.identical),
        directory: request.keep ? directory : null,
      };
    });
  } finally {
    if (!request.keep) await rm(directory, { recursive: true, force: true });
  }
}
