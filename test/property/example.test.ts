/** The example of docs/property-testing.md stands there as it is in examples/, and finds its fault. */

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const example = fileURLToPath(new URL('../../examples/planted-fault.mjs', import.meta.url));
const document = fileURLToPath(new URL('../../docs/property-testing.md', import.meta.url));

describe('the example of property testing', () => {
  it('is in the document', async () => {
    expect(await readFile(document, 'utf8')).toContain(`\`\`\`js\n${await readFile(example, 'utf8')}\`\`\``);
  });

  it('finds the planted fault', { timeout: 60_000 }, async () => {
    const { stdout } = await run(process.execPath, [example]);

    expect(stdout).toMatch(/^found, with \[\{"disks":.*CHUNK_DAMAGED|^found, with .* is damaged/);
  });
});
