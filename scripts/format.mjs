/** `npm run format`: formats the sources of both languages. */

import { prettierArgs } from './lib/formatted.mjs';
import { ensureInstalled } from './lib/install.mjs';
import { inRoot } from './lib/root.mjs';
import { main, mustRun } from './lib/run.mjs';
import { requireCargoPart, requireToolchain } from './lib/toolchain.mjs';

await main(async () => {
  await ensureInstalled();
  const prettier = inRoot('node_modules/prettier/bin/prettier.cjs');
  await mustRun(process.execPath, [prettier, '--write', '--log-level', 'warn', ...prettierArgs]);
  await requireToolchain();
  await requireCargoPart('fmt', 'rustfmt');
  await mustRun('cargo', ['fmt', '--all'], { cwd: inRoot('native') });
});
