/**
 * Builds the addon and the TypeScript, each only when something it is made from has changed.
 *
 *     native/**            -> src/native/generated/  stillpoint.node   the addon, not committed
 *                                                    binding.cjs       its loader, committed
 *                                                    binding.d.cts     its declarations, committed
 *     src/** (with those)  -> dist/                            dist/cli in few files
 *
 * The committed two change only when the boundary does, and then they show in review. With CI=true a build does not
 * rewrite them but fails.
 */

import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { addonLoader } from './addon-loader.mjs';
import { whileAlone } from './build-lock.mjs';
import { bundle } from './bundle.mjs';
import { filesBelow, fingerprintOf } from './fingerprint.mjs';
import { cache, inRoot, isCi } from './root.mjs';
import { mustRun, say, secondsSince, StepError } from './run.mjs';
import { hostTriple, requireToolchain } from './toolchain.mjs';

const generated = 'src/native/generated';
const addonFile = 'stillpoint.node';
const loaderFile = 'binding.cjs';
const declarationsFile = 'binding.d.cts';

/** How things are made; what they are made from stands with each. */
const recipe = ['scripts/lib/build.mjs', 'scripts/lib/addon-loader.mjs', 'package-lock.json'];
const bundling = ['bundle', 'bundled-level', 'licences'].map((name) => `scripts/lib/${name}.mjs`);
const compiling = [...recipe, ...bundling, 'src', 'tsconfig.json', 'tsconfig.build.json'];
const addonSources = ['Cargo.toml', 'Cargo.lock', 'engine/Cargo.toml', 'engine/src', 'binding'];
const platform = `${process.platform} ${process.arch}`;

/** One thing that is built: what it is made from, what must be there, and how it is made. */
const addon = {
  name: 'addon',
  fingerprint: () => fingerprintOf([...recipe, ...addonSources.map((name) => `native/${name}`)], platform),
  outputs: [addonFile, loaderFile, declarationsFile].map((name) => `${generated}/${name}`),
  make: makeAddon,
};
const typeScript = {
  name: 'typescript',
  fingerprint: () => fingerprintOf(compiling),
  outputs: ['dist'],
  make: makeTypeScript,
};

function recordOf(target) {
  return path.join(cache, 'build', `${target.name}.fingerprint`);
}

function isCurrent(target) {
  const record = recordOf(target);
  if (!existsSync(record) || !target.outputs.every((file) => existsSync(inRoot(file)))) return false;
  return readFileSync(record, 'utf8') === target.fingerprint();
}

/** Builds what is not current. Everything is said on stderr. Packages must be installed. */
export async function build() {
  // The declarations of the addon are among what the TypeScript is made from: in this order.
  for (const target of [addon, typeScript]) {
    if (isCurrent(target)) continue;
    await whileAlone(async () => {
      if (isCurrent(target)) return;
      const startedMs = Date.now();
      say(`building the ${target.name}`);
      const fingerprint = target.fingerprint();
      rmSync(recordOf(target), { force: true });
      await target.make();
      writeFileSync(recordOf(target), fingerprint);
      say(`built the ${target.name} in ${secondsSince(startedMs)}`);
    });
  }
}

async function makeAddon() {
  const host = hostTriple(await requireToolchain());
  const manifest = inRoot('native/Cargo.toml');
  // Fetched apart, so that a failing download says so; the compiler then needs no network.
  await mustRun('cargo', ['fetch', '--quiet', '--locked', '--manifest-path', manifest, '--target', host], {
    output: 'stderr',
    failed: 'cargo fetch failed: native/Cargo.lock must agree with the manifests, and the crates must be reachable',
  });
  const fresh = path.join(cache, 'build', 'addon');
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  // No --platform: the addon is built where it runs, and the loader that napi writes for many platforms would also
  // try packages and an environment variable. Ours loads the file beside it and nothing else.
  const args = ['build', '--release', '--manifest-path', 'native/binding/Cargo.toml', '--package-json-path'];
  args.push('package.json', '--output-dir', fresh, '--no-js', '--dts', declarationsFile, '--', '--locked');
  await mustRun(process.execPath, [inRoot('node_modules/.bin/napi'), ...args], {
    output: 'stderr',
    failed: 'the addon did not build',
  });
  writeFileSync(path.join(fresh, loaderFile), await addonLoader(path.join(fresh, addonFile)));
  const declarations = path.join(fresh, declarationsFile);
  const text = existsSync(declarations) ? readFileSync(declarations, 'utf8') : '';
  writeFileSync(declarations, text.trim() === '' ? 'export {};\n' : `${text.trimEnd()}\n`);
  publishAddon(fresh);
}

function publishAddon(fresh) {
  mkdirSync(inRoot(generated), { recursive: true });
  for (const name of [loaderFile, declarationsFile]) {
    const file = inRoot(generated, name);
    const text = readFileSync(path.join(fresh, name), 'utf8');
    if (existsSync(file) && readFileSync(file, 'utf8') === text) continue;
    if (isCi) {
      throw new StepError(`${generated}/${name} is not what the build makes: run npm run build and commit the change`);
    }
    writeFileSync(file, text);
    say(`changed: ${generated}/${name} (commit it with the change to native/binding)`);
  }
  // A new file under the old name: a process that has the old addon loaded keeps it.
  renameSync(path.join(fresh, addonFile), inRoot(generated, addonFile));
}

async function makeTypeScript() {
  const fresh = inRoot('dist.new');
  const old = inRoot('dist.old');
  for (const folder of [fresh, old]) rmSync(folder, { recursive: true, force: true });
  const args = ['-p', 'tsconfig.build.json', '--outDir', 'dist.new', '--noEmitOnError'];
  await mustRun(process.execPath, [inRoot('node_modules/typescript/bin/tsc'), ...args], {
    output: 'stderr',
    failed: 'the TypeScript did not compile',
  });
  // What the compiler does not carry over: the addon with its loader, and files that are served or read as they are.
  for (const file of filesBelow(['src'])) {
    if (file.endsWith('.ts')) continue;
    cpSync(inRoot(file), path.join(fresh, path.relative('src', file)));
  }
  const program = path.join(fresh, 'cli/main.js');
  await bundle(program);
  chmodSync(program, 0o755);
  // Made whole beside it, then swapped: no run sees half a build, and files of deleted sources do not stay.
  if (existsSync(inRoot('dist'))) renameSync(inRoot('dist'), old);
  renameSync(fresh, inRoot('dist'));
  rmSync(old, { recursive: true, force: true });
}
