/** All rounds, interleaved, and their figures by case. */

import { accessSync, constants } from 'node:fs';
import path from 'node:path';

import { spreadOf, type Spread } from '../spread.js';
import { cases, stepsFor, type Case, type CaseName } from './case.js';
import type { Contender } from './contender.js';
import type { Images } from './images.js';
import { CommandFailed, runCommand } from './process.js';
import { runRound, type RoundFigures } from './round.js';

/** One contender in one case. */
export interface Entry {
  readonly contender: string;
  readonly value: Spread;
  readonly processorSeconds: Spread | null;
  readonly memoryBytes: Spread | null;
  /** Its median over ours: how many times we are faster, or smaller; null without a figure of ours. */
  readonly ratio: number | null;
}

export interface CaseResult {
  readonly case: Case;
  readonly entries: readonly Entry[];
}

export interface ComparisonRequest {
  /** Ours first. */
  readonly contenders: readonly Contender[];
  readonly images: Images;
  readonly cases: readonly CaseName[];
  readonly runs: number;
  readonly directory: string;
  readonly say: (line: string) => void;
}

/** Who can take part: those whose program is there, with its version. The others are named with their package. */
export async function present(
  contenders: readonly Contender[],
  say: (line: string) => void,
): Promise<{ contender: Contender; version: string }[]> {
  const found: { contender: Contender; version: string }[] = [];
  for (const contender of contenders) {
    if (contender.program === null) found.push({ contender, version: 'this checkout' });
    else if (!isOnPath(contender.program)) {
      say(`skipped: ${contender.name} is not installed (Debian package ${contender.debianPackage})`);
    } else {
      const { stdout } = await runCommand({ program: contender.program, args: contender.versionArgs });
      found.push({ contender, version: stdout.trim().split('\n')[0] ?? '' });
    }
  }
  return found;
}

/**
 * Runs every contender `runs` times. Each round goes through all of them and starts with another, so that whatever
 * drifts (a neighbour on the machine, a filling disk) meets everyone. Ours must succeed; another that fails is left out
 * from then on, with a word.
 */
export async function compareAll(request: ComparisonRequest): Promise<RoundFigures[]> {
  const steps = stepsFor(request.cases);
  const figures: RoundFigures[] = [];
  let taking = [...request.contenders];
  for (let round = 0; round < request.runs; round += 1) {
    for (const contender of rotated(taking, round)) {
      try {
        const { images, directory } = request;
        const done = await runRound({ contender, images, steps, directory, verify: round === 0 });
        figures.push(done);
        const times = done.steps.map(({ step, seconds }) => `${step} ${seconds.toFixed(2)} s`).join(', ');
        request.say(`round ${round + 1} of ${request.runs}  ${contender.name}: ${times}`);
      } catch (error) {
        if (!(error instanceof CommandFailed) || contender.program === null) throw error;
        request.say(`left out from here on: ${contender.name}: ${error.message}`);
        taking = taking.filter((each) => each !== contender);
      }
    }
  }
  return figures;
}

/** The figures of each case, contenders in their order. */
export function caseResults(
  wanted: readonly CaseName[],
  contenders: readonly Contender[],
  figures: readonly RoundFigures[],
): CaseResult[] {
  return cases
    .filter(({ name }) => wanted.includes(name))
    .map((each) => {
      const found = contenders.flatMap((contender) => entryOf(each, contender, figures) ?? []);
      const ours = found.find(({ contender }) => contender === contenders[0]?.name)?.value.median;
      const entries = found.map((entry) => ({
        ...entry,
        ratio: ours === undefined || ours === 0 ? null : entry.value.median / ours,
      }));
      return { case: each, entries };
    });
}

function entryOf({ name }: Case, contender: Contender, figures: readonly RoundFigures[]): Omit<Entry, 'ratio'> | null {
  const own = figures.filter((figure) => figure.contender === contender.name);
  if (name === 'store') {
    const value = spreadOf(own.flatMap(({ storeMebibytes }) => storeMebibytes ?? []));
    return value === null ? null : { contender: contender.name, value, processorSeconds: null, memoryBytes: null };
  }
  const steps = own.flatMap((figure) => figure.steps.filter(({ step }) => step === name));
  const value = spreadOf(steps.map(({ seconds }) => seconds));
  if (value === null) return null;
  return {
    contender: contender.name,
    value,
    processorSeconds: spreadOf(steps.map(({ processorSeconds }) => processorSeconds)),
    memoryBytes: spreadOf(steps.map(({ memoryBytes }) => memoryBytes)),
  };
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

function isOnPath(program: string): boolean {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter((folder) => folder !== '');
  return folders.some((folder) => {
    try {
      accessSync(path.join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
