/**
 * Puts the modules of the compiled command together into few files, with the packages that commands load.
 *
 * A command loads some 150 modules of ours and 50 of packages, and finding, reading and linking each takes longer than
 * running it. What commands import when they need it stays in files of its own. The addon stays where it is, and so do the
 * packages that are `outside`. Why: docs/decisions/0019-packages-inside-the-command.md.
 */

import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';

import { bundledLevel } from './bundled-level.mjs';
import { licencesOf } from './licences.mjs';

/** They find files or start threads by their own place, or are loaded by none but a server or the portable reader. */
const outside = ['@bokuweb/zstd-wasm', '@colors/colors/safe', 'fastify', 'hash-wasm', 'pino', 'prom-client'];

/** What is loaded together: each file less is a millisecond less. The first group that a module fits has it. */
const groupsFor = (entry) => [
  // Without the entry: it waits for the command, and whoever imports from it would wait for that too.
  { name: 'start', tags: ['$initial'], test: (id) => id !== entry },
  { name: 'shared', minShareCount: 2 },
  { name: 'commands', test: /\/(control\/commands|cli\/render)\/(?!bench|portable)/ },
];

/** Replaces the folder of `entry` by what its module needs, with the entry under its old name. */
export async function bundle(entry) {
  const { rolldown } = await import('rolldown'); // not there before the packages are installed
  const folder = path.dirname(entry);
  const fresh = `${folder}.bundle`; // beside it: relative paths out of it stay what they are
  const made = await rolldown({
    input: { [path.parse(entry).name]: entry },
    platform: 'node',
    external: (id) => id.endsWith('.cjs') || isBuiltin(id) || outside.includes(id),
    plugins: [bundledLevel],
    checks: { ineffectiveDynamicImport: false }, // what is shared is loaded early, and that is meant
  });
  const { output } = await made.write({
    dir: fresh,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: '[name]-[hash].js',
    codeSplitting: { groups: groupsFor(entry) },
  });
  await made.close();
  writeFileSync(path.join(fresh, 'LICENSES.txt'), licencesOf(output.flatMap((chunk) => chunk.moduleIds ?? [])));
  rmSync(folder, { recursive: true });
  renameSync(fresh, folder);
}
