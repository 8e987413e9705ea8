/** One contender goes once through its steps in a directory of its own, which is removed after. */

import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import path from 'node:path';

import type { StepName } from './case.js';
import type { Command, Contender, Place } from './contender.js';
import { momentDirectory, type Images } from './images.js';
import { CommandFailed, runCommand, type Ran } from './process.js';

export interface StepFigure {
  readonly step: StepName;
  readonly seconds: number;
  readonly processorSeconds: number;
  readonly memoryBytes: number;
}

export interface RoundFigures {
  readonly contender: string;
  readonly steps: readonly StepFigure[];
  /** `du -sm` after the second moment; null for a contender that keeps nothing. */
  readonly storeMebibytes: number | null;
}

export interface RoundRequest {
  readonly contender: Contender;
  readonly images: Images;
  readonly steps: readonly StepName[];
  /** The contender's directory is made in here. */
  readonly directory: string;
  /** Compare what was restored with the images, byte by byte; not timed. */
  readonly verify: boolean;
}

export async function runRound(request: RoundRequest): Promise<RoundFigures> {
  const { contender, images } = request;
  const root = await mkdtemp(path.join(request.directory, `${contender.name}-`));
  const place: Place = {
    root,
    images: path.join(root, 'images'),
    names: images.names,
    store: path.join(root, 'store'),
    restored: path.join(root, 'restored'),
  };
  try {
    await mkdir(place.restored);
    await pointAt(place, images, 'full');
    for (const command of contender.prepare(place)) await runCommand(command);
    const figures: StepFigure[] = [];
    let storeMebibytes: number | null = null;
    for (const step of request.steps) {
      if (!contender.steps.includes(step)) continue;
      await pointAt(place, images, step);
      await settle(root);
      figures.push({ step, ...(await timed(contender.commands(step, place))) });
      if (step === 'changed') storeMebibytes = await mebibytesOf(place.store);
      if (step === 'restore' && request.verify) await compare(place, images, contender);
    }
    return { contender: contender.name, steps: figures, storeMebibytes };
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** The images of a step's moment under the same path as those of the other. */
export async function pointAt(place: Place, images: Images, step: StepName): Promise<void> {
  await rm(place.images, { force: true });
  await symlink(momentDirectory(images, step === 'full' ? 1 : 2), place.images);
}

/** Writes back what earlier steps left dirty, so that nobody pays for it within a measured time. */
async function settle(directory: string): Promise<void> {
  await runCommand({ program: 'sync', args: ['--file-system', directory] });
}

/** Processes one after the other: times add up, of memory the largest counts. */
async function timed(commands: readonly Command[]): Promise<Omit<StepFigure, 'step'>> {
  const ran: Ran[] = [];
  for (const command of commands) ran.push(await runCommand(command));
  return {
    seconds: ran.reduce((sum, each) => sum + each.seconds, 0),
    processorSeconds: ran.reduce((sum, each) => sum + each.processorSeconds, 0),
    memoryBytes: Math.max(...ran.map(({ memoryBytes }) => memoryBytes)),
  };
}

async function mebibytesOf(directory: string): Promise<number> {
  const { stdout } = await runCommand({ program: 'du', args: ['-sm', directory] });
  return Number.parseInt(stdout, 10);
}

async function compare(place: Place, images: Images, contender: Contender): Promise<void> {
  for (const name of images.names) {
    const files = [path.join(momentDirectory(images, 2), name), path.join(place.restored, name)];
    await runCommand({ program: 'cmp', args: files }).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new CommandFailed(`${contender.name} restored other bytes than it was given: ${why}`);
    });
  }
}
