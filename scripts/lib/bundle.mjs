/**
 * Puts the modules of the compiled command together into few files.
 *
 * A command loads some 150 modules of ours, and finding, reading and linking each takes longer than running it. What
 * commands import when they need it stays in files of its own. Packages and the addon stay where they are.
 */

import { renameSync, rmSync } from 'node:fs';
import path from 'node:path';

/** Replaces the folder of `entry` by what its module needs, with the entry under its old name. */
export async function bundle(entry) {
  const { rolldown } = await import('rolldown'); // not there before the packages are installed
  const folder = path.dirname(entry);
  const fresh = `${folder}.bundle`; // beside it: relative paths out of it stay what they are
  const made = await rolldown({
    input: { [path.parse(entry).name]: entry },
    platform: 'node',
    external: (id) => id.endsWith('.cjs') || !(id.startsWith('.') || path.isAbsolute(id)),
  });
  await made.write({ dir: fresh, format: 'esm', entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' });
  await made.close();
  rmSync(folder, { recursive: true });
  renameSync(fresh, folder);
}
