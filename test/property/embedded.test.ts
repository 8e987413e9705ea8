/** The example of docs/embedding.md runs, and says what the document says that it does. */

import { execFileSync } from 'node:child_process';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { expect, it } from 'vitest';

import { temporaryFolder } from '../input/temporary.js';

const example = fileURLToPath(new URL('../../examples/embedded-backend.mjs', import.meta.url));

it('the embedded backend serves a device, a sandbox, a diff and a way back', () => {
  const said = execFileSync(process.execPath, [example, path.join(temporaryFolder(), 'store')], { encoding: 'utf8' });
  const lines = said.trim().split('\n');

  expect(lines.filter((line) => !line.startsWith('copied ') && !line.startsWith('pressure '))).toEqual([
    'a device of 64 MiB in sectors of 512',
    "the sandbox reads 'first'",
    'changed: 4096 bytes of data from 0',
    "the machine reads 'first'",
    'bad request',
    'closed',
  ]);
  expect(lines).toContain('copied web/default/before-upgrade');
});
