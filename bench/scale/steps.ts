/** Steps of the index suite that run in a process of their own, so that their memory is nobody else's. */

import { addon } from '../micro/addon.js';
import { anonymousBytes, millisecondsOf, peakBytes } from './measure.js';
import type { StepFigures } from './size.js';

type Probe = InstanceType<typeof addon.NativeScaleProbe>;

const steps: Readonly<Record<string, (probe: Probe, count: number) => void>> = {
  /** One capture of so many new chunks into the empty store. */
  fill: (probe, count) => {
    probe.open();
    probe.add(count);
  },
  open: (probe) => {
    probe.open();
  },
  rebuild: (probe) => {
    probe.removeIndex();
    probe.open();
  },
};

/** Runs a step on the store in a directory that holds `added` chunks. */
export async function runStep(name: string, args: readonly string[]): Promise<StepFigures> {
  const [directory = '', added = '0', count = '0'] = args;
  const step = steps[name];
  if (step === undefined) throw new Error(`there is no step ${name}`);
  const probe = new addon.NativeScaleProbe(directory, 1, Number(added));
  const [anonymousBefore, peakBefore] = [anonymousBytes(), peakBytes()];
  const milliseconds = await millisecondsOf(() => {
    step(probe, Number(count));
  });
  const figures = {
    milliseconds,
    anonymousBytes: anonymousBytes() - anonymousBefore,
    peakBytes: peakBytes() - peakBefore,
  };
  probe.close();
  return figures;
}
