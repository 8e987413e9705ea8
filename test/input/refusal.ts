/** A call that must fail: with one code and kind through the library, with one exit code on the command line. */

import { expect } from 'vitest';

import type { ErrorCode, ErrorKind, Store } from '../../src/index.js';
import { codeOf, runCommand } from './command.js';
import { stateOf, withOpen, type SmallStore } from './small-store.js';

/** What is asked for, both ways. */
export interface Attempt {
  readonly call: (store: Store) => Promise<unknown>;
  /** The command line, without `--store` and `--json`. */
  readonly words: readonly string[];
}

/**
 * Makes a refused call through the library and again as a command.
 *
 * Expects code and kind, exit code 2 for `ARGUMENT_INVALID` and 1 for all others, and a store that is as it was.
 */
export async function expectRefusal(
  { path }: SmallStore,
  wanted: { readonly code: ErrorCode; readonly kind: ErrorKind },
  { call, words }: Attempt,
): Promise<void> {
  const before = await stateOf(path);
  expect(before.findings).toEqual([]);

  await withOpen(path, async (store) => {
    await expect(call(store)).rejects.toMatchObject({ name: 'StillpointError', ...wanted });
  });
  const ended = await runCommand(['--store', path, '--json', ...words]);
  expect({ code: codeOf(ended), exit: ended.code, out: ended.out }).toEqual({
    code: wanted.code,
    exit: wanted.code === 'ARGUMENT_INVALID' ? 2 : 1,
    out: '',
  });
  expect(await stateOf(path)).toEqual(before);
}
