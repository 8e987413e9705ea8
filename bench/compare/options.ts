/** The command line of `npm run bench:compare`. */

import path from 'node:path';
import { parseArgs } from 'node:util';

import { cases, type CaseName } from './case.js';

export interface CompareOptions {
  /** How many times every contender goes through its steps. */
  readonly runs: number;
  /** Measure on the small series of images. */
  readonly small: boolean;
  readonly cases: readonly CaseName[];
  /** Names of the contenders; null for all. Ours takes part in any event, since ratios are to it. */
  readonly contenders: readonly string[] | null;
  /** Own images: a directory with `1/*.raw` and `2/*.raw`; null for the series. */
  readonly images: string | null;
  /** Where stores and restored files are made, for the time of the run; null for the temporary directory. */
  readonly directory: string | null;
}

export const usage: string = `npm run bench:compare -- [--runs N] [--small] [--only CASE ...] [--contender NAME ...] [--images DIR] [--dir DIR]
  --runs N            runs of each contender, interleaved; default 5, with --small 3
  --small             the small images, which need no root
  --only CASE         ${cases.map(({ name }) => name).join(', ')}
  --contender NAME    leave out the others, but ours
  --images DIR        your images: DIR/1/*.raw and, of the same names, DIR/2/*.raw
  --dir DIR           where stores are made; default the temporary directory`;

/** A command line that cannot be understood. */
export class UsageError extends Error {
  override name = 'UsageError';
}

export function compareOptions(args: readonly string[]): CompareOptions {
  const { values } = parsed(args);
  const runs = values.runs === undefined ? (values.small === true ? 3 : 5) : Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1) throw new UsageError(`--runs is a number from 1, not '${values.runs}'`);
  return {
    runs,
    small: values.small === true,
    cases: values.only === undefined ? cases.map(({ name }) => name) : values.only.map(caseNamed),
    contenders: values.contender ?? null,
    images: values.images === undefined ? null : fromCaller(values.images),
    directory: values.dir === undefined ? null : fromCaller(values.dir),
  };
}

function parsed(args: readonly string[]): {
  values: { runs?: string; small?: boolean; only?: string[]; contender?: string[]; images?: string; dir?: string };
} {
  try {
    return parseArgs({
      args: [...args],
      options: {
        runs: { type: 'string' },
        small: { type: 'boolean' },
        only: { type: 'string', multiple: true },
        contender: { type: 'string', multiple: true },
        images: { type: 'string' },
        dir: { type: 'string' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function caseNamed(name: string): CaseName {
  const found = cases.find((each) => each.name === name);
  if (found === undefined)
    throw new UsageError(`no case '${name}'; there are ${cases.map((each) => each.name).join(', ')}`);
  return found.name;
}

/** npm runs scripts in the package's folder; a relative path is meant from where the user stands. */
function fromCaller(file: string): string {
  return path.resolve(process.env['INIT_CWD'] ?? process.cwd(), file);
}
