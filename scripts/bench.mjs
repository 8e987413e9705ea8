/**
 * `npm run bench` and those behind a colon: installs, builds, compiles the benches, runs them.
 *
 *     npm run bench -- ARGS             bench/micro/main.ts
 *     npm run bench:compare -- ARGS     bench/compare/main.ts
 *     npm run bench:collect -- ARGS     bench/collect/main.ts
 *     npm run bench:instructions -- ARGS     bench/instructions/main.ts
 *     npm run bench:live -- ARGS        bench/live/main.ts
 *     npm run bench:nbd -- ARGS         bench/nbd/main.ts
 *     npm run bench:profile -- ARGS     bench/profile/main.ts
 *     npm run bench:scale -- ARGS       bench/scale/main.ts
 *
 * Node.js 20 runs no TypeScript, so `bench/` is compiled into `.cache/bench`, and the result runs in this process.
 */

import path from 'node:path';

import { build } from './lib/build.mjs';
import { ensureInstalled } from './lib/install.mjs';
import { cache, inRoot } from './lib/root.mjs';
import { main, mustRun } from './lib/run.mjs';

await main(async () => {
  const [kind, ...args] = process.argv.slice(2);
  await ensureInstalled();
  await build();
  await mustRun(process.execPath, [inRoot('node_modules/typescript/bin/tsc'), '-p', 'bench/tsconfig.json'], {
    output: 'stderr',
    failed: 'the benches did not compile',
  });
  const program = path.join(cache, 'bench', kind, 'main.js');
  process.argv.splice(1, Infinity, program, ...args);
  await import(program);
});
