/**
 * `npm test`: installs, builds, runs the tests of both languages, and closes with one line that sums them up.
 *
 *     npm test                              everything, quick size
 *     npm test -- test/house -t imports     arguments for vitest: only the TypeScript tests they choose
 *     npm test -- --rust scan               only the Rust tests; what follows goes to cargo test
 *     npm test -- --ts                      only the TypeScript tests
 *     npm run test:full                     everything, full size; goes on where the last run stopped
 *     npm run test:full -- --fresh          the same from the beginning
 *
 * docs/testing.md tells about sizes, seeds and skipped tests.
 */

import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';

import { build } from './lib/build.mjs';
import { cargoCounts, noTests, sum, summaryLine, vitestCounts, withExitCode } from './lib/counts.mjs';
import { forgetProgress, keepEvidence, progressFolder } from './lib/evidence.mjs';
import { ensureInstalled } from './lib/install.mjs';
import { cache, inRoot } from './lib/root.mjs';
import { main, run, say, secondsSince } from './lib/run.mjs';
import { requireToolchain } from './lib/toolchain.mjs';

const notices = path.join(cache, 'test', 'notices');
const report = path.join(cache, 'test', 'vitest.json');

/** What the arguments ask for. */
function wanted(args) {
  const own = new Set(['--full', '--fresh', '--ts', '--rust']);
  const given = new Set(args.filter((arg) => own.has(arg)));
  const others = args.filter((arg) => !own.has(arg));
  const onlyRust = given.has('--rust');
  return {
    full: given.has('--full'),
    fresh: given.has('--fresh'),
    rust: onlyRust || !(given.has('--ts') || others.length > 0),
    typeScript: !onlyRust,
    isWhole: !onlyRust && !given.has('--ts') && others.length === 0,
    cargoArgs: onlyRust ? others : [],
    vitestArgs: onlyRust ? [] : others.filter((arg) => arg !== '--'),
  };
}

async function testRust(args, env) {
  await requireToolchain();
  let counts = noTests;
  const { code } = await run('cargo', ['test', '--workspace', '--locked', '--no-fail-fast', ...args], {
    cwd: inRoot('native'),
    env,
    output: 'lines',
    onLine: (line) => {
      counts = sum(counts, cargoCounts(line) ?? noTests);
    },
  });
  return withExitCode(counts, code);
}

async function testTypeScript(args, env) {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const { code } = await run(
    process.execPath,
    [inRoot('node_modules/vitest/vitest.mjs'), 'run', ...reporters, ...args],
    {
      env,
    },
  );
  const counts = existsSync(report) ? vitestCounts(JSON.parse(readFileSync(report, 'utf8'))) : noTests;
  return withExitCode(counts, code);
}

await main(async () => {
  const ask = wanted(process.argv.slice(2));
  await ensureInstalled();
  await build();
  const startedMs = Date.now();
  say(`seed ${process.env['STILLPOINT_TEST_SEED'] ?? '1'} (STILLPOINT_TEST_SEED)`);
  rmSync(path.dirname(report), { recursive: true, force: true });
  mkdirSync(path.dirname(report), { recursive: true });
  const env = {
    STILLPOINT_TEST_NOTICES: notices,
    STILLPOINT_TEST_SIZE: ask.full ? 'full' : (process.env['STILLPOINT_TEST_SIZE'] ?? 'quick'),
  };
  const progress = ask.full ? progressFolder(ask) : null;
  if (progress !== null) env['STILLPOINT_TEST_PROGRESS'] = progress;

  let counts = noTests;
  if (ask.rust) counts = sum(counts, await testRust(ask.cargoArgs, env));
  if (ask.typeScript) counts = sum(counts, await testTypeScript(ask.vitestArgs, env));

  if (progress !== null) {
    await keepEvidence(progress);
    if (ask.isWhole && counts.failed === 0) forgetProgress(progress);
  }
  const lines = existsSync(notices) ? readFileSync(notices, 'utf8').trim().split('\n') : [];
  for (const line of new Set(lines)) say(line);
  if (!ask.isWhole) say('this was a part of the tests');
  say(`tests took ${secondsSince(startedMs)}`);
  if (counts.passed + counts.failed === 0) say('no test ran');
  console.log(summaryLine(counts));
  process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
});
