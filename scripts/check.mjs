/**
 * `npm run check`: everything that must hold before a commit besides the tests. Nothing is changed; all steps run.
 *
 *     npm run check                    all steps
 *     npm run check -- eslint format   only these
 */

import { build } from './lib/build.mjs';
import { prettierArgs } from './lib/formatted.mjs';
import { ensureInstalled } from './lib/install.mjs';
import { inRoot } from './lib/root.mjs';
import { main, mustRun, say, secondsSince, StepError } from './lib/run.mjs';
import { requireCargoPart, requireToolchain } from './lib/toolchain.mjs';

const native = inRoot('native');

function runTool(file, ...args) {
  return mustRun(process.execPath, [inRoot('node_modules', file), ...args], { failed: file });
}

async function runCargo(part, component, ...args) {
  await requireToolchain();
  await requireCargoPart(part, component);
  await mustRun('cargo', [part, ...args], { cwd: native });
}

const steps = {
  /** The build fails with CI=true where a generated file is out of step. */
  build: () => build(),
  types: () => runTool('typescript/bin/tsc', '-p', 'tsconfig.json'),
  eslint: () => runTool('eslint/bin/eslint.js', '--max-warnings', '0', '.'),
  prettier: () => runTool('prettier/bin/prettier.cjs', '--check', ...prettierArgs),
  rustfmt: () => runCargo('fmt', 'rustfmt', '--all', '--check'),
  clippy: () => runCargo('clippy', 'clippy', '--workspace', '--all-targets', '--locked', '--', '-D', 'warnings'),
  /** Imports, file sizes, words, links, package: the tests in test/house. */
  house: () => runTool('vitest/vitest.mjs', 'run', '--reporter=dot', 'test/house'),
};

await main(async () => {
  const asked = process.argv.slice(2);
  const unknown = asked.filter((name) => !(name in steps));
  if (unknown.length > 0) {
    throw new StepError(`no step ${unknown.join(', ')}; there are ${Object.keys(steps).join(', ')}`);
  }
  await ensureInstalled();
  const failed = [];
  for (const [name, step] of Object.entries(steps)) {
    if (asked.length > 0 && !asked.includes(name)) continue;
    const startedMs = Date.now();
    try {
      await step();
      say(`ok      ${name} (${secondsSince(startedMs)})`);
    } catch (error) {
      if (!(error instanceof StepError)) throw error;
      say(error.message);
      say(`FAILED  ${name} (${secondsSince(startedMs)})`);
      failed.push(name);
    }
  }
  if (failed.length > 0) throw new StepError(`check failed: ${failed.join(', ')}`);
  say('check passed');
});
