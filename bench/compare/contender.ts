/** A program that takes part, as data: which commands it is started with for each step. Running them is `round.ts`'s. */

import type { StepName } from './case.js';

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly directory?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Where one contender works in one round; empty at the beginning. */
export interface Place {
  readonly root: string;
  /** Where the images of the moment are, whichever it is: the same path for both, as a machine's disks have. */
  readonly images: string;
  /** Names of the image files. */
  readonly names: readonly string[];
  /** What the contender keeps; measured with `du`. */
  readonly store: string;
  /** Where it restores to. */
  readonly restored: string;
}

export interface Contender {
  readonly name: string;
  /** Settings that matter, in words. */
  readonly settings: string;
  /** The program that has to be there, and the Debian package that brings it; null when it is ours. */
  readonly program: string | null;
  readonly debianPackage: string | null;
  /** What it can do. A program that only reads takes part in the step that compares reading. */
  readonly steps: readonly StepName[];
  /** Makes an empty store; not timed. */
  readonly prepare: (place: Place) => readonly Command[];
  /** One step's processes, run one after the other and timed together. */
  readonly commands: (step: StepName, place: Place) => readonly Command[];
  /** Arguments with which the program tells its version. */
  readonly versionArgs: readonly string[];
}
