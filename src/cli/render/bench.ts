/** The figures of a bench as people read them. */

import type { BenchResult, BenchStep } from '../../control/commands/bench.js';
import { table } from './layout.js';
import { compressionText } from './reports.js';
import { bold, green, red, type Style } from './style.js';
import { formatBytes, formatChosenBytes, formatDuration, formatRate } from './units.js';

const stepNames: Readonly<Record<BenchStep['step'], string>> = {
  captureFirst: 'first capture',
  captureUnchanged: 'unchanged capture',
  diff: 'diff of the two',
  restore: 'restore',
  compare: 'compare (SHA-256)',
};

/** Tables of images and steps, and whether what came back is what went in. */
export async function benchReport(result: BenchResult, style: Style): Promise<string> {
  const images = await table(
    style,
    [{ title: 'IMAGE' }, { title: 'SIZE', align: 'right' }, { title: 'SHA-256' }, { title: 'RESTORED' }],
    result.images.map((image) => [
      image.path,
      formatBytes(image.sizeBytes),
      image.sha256.slice(0, 16),
      image.identical ? green(style, 'identical') : red(style, 'DIFFERENT'),
    ]),
  );
  const steps = await table(
    style,
    [
      { title: 'STEP' },
      { title: 'TIME', align: 'right' },
      { title: 'BYTES', align: 'right' },
      { title: 'THROUGHPUT', align: 'right' },
      { title: 'STORED', align: 'right' },
    ],
    result.steps.map((step) => [
      stepNames[step.step],
      formatDuration(step.durationMs),
      formatBytes(step.bytes),
      formatRate(step.bytesPerSecond),
      step.bytesStored === null ? '' : formatBytes(step.bytesStored),
    ]),
  );
  const store = `store: ${bold(style, formatBytes(result.storeBytes))}, chunks of ${formatChosenBytes(result.info.chunkBytes)}, compression ${compressionText(result.info)}`;
  const kept = result.directory === null ? [] : [`kept in ${result.directory}`];
  return [images, '', steps, '', store, ...kept].join('\n');
}
