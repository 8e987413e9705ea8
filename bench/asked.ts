/** What is asked of a bench of several suites. */

import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';

export interface Asked<Suite> {
  readonly suites: readonly Suite[];
  /** Where stores are made. */
  readonly directory: string;
  /** Just enough to see that it runs. */
  readonly isSmoke: boolean;
}

/** Reads `--only`, `--dir` and `--smoke`; null when there is no such suite, which is said, with an exit code of 2. */
export function askedOf<Suite extends { readonly name: string }>(suites: readonly Suite[]): Asked<Suite> | null {
  const { values } = parseArgs({
    options: { only: { type: 'string', multiple: true }, dir: { type: 'string' }, smoke: { type: 'boolean' } },
  });
  const unknown = (values.only ?? []).filter((name) => !suites.some((suite) => suite.name === name));
  if (unknown.length > 0) {
    console.error(`no suite ${unknown.join(', ')}; there are ${suites.map(({ name }) => name).join(', ')}`);
    process.exitCode = 2;
    return null;
  }
  return {
    suites: suites.filter(({ name }) => values.only?.includes(name) ?? true),
    directory: values.dir ?? tmpdir(),
    isSmoke: values.smoke === true,
  };
}
