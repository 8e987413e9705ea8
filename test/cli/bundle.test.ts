/** The files that the build puts the command line and its packages together in. */

import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

import { afterAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, 'dist/cli');
const texts = readdirSync(folder)
  .filter((file) => file.endsWith('.js'))
  .map((file) => readFileSync(join(folder, file), 'utf8'));
const licences = readFileSync(join(folder, 'LICENSES.txt'), 'utf8');

interface Manifest {
  readonly version: string;
  readonly license: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** What the pattern's group finds in any of the files, each once, sorted. */
function found(pattern: RegExp): string[] {
  const all = texts.flatMap((text) => [...text.matchAll(pattern)].map(([, name = '']) => name));
  return [...new Set(all)].sort();
}

/** What is imported of packages and of the addon, which is Node.js's to find. */
const imported = found(/(?:^import .*\bfrom |^import |\bimport\(|\b__require\()"([^"]+)"/gm).filter(
  (name) => !name.startsWith('./') && !isBuiltin(name),
);

function manifestOf(name: string): Manifest {
  // A cast: the manifests of packages have these fields, and one that has not fails the comparison.
  return JSON.parse(readFileSync(join(root, name, 'package.json'), 'utf8')) as Manifest;
}

describe('the files of the command line', () => {
  it('import the addon, and what servers with their threads, the portable reader or coloured tables load: all else is inside', () => {
    expect(imported).toEqual([
      '../native/generated/binding.cjs',
      '../native/relay.cjs',
      '@bokuweb/zstd-wasm',
      '@colors/colors/safe',
      'fastify',
      'hash-wasm',
      'pino',
      'prom-client',
    ]);
  });

  it('come with version, licence and its text of every package that is inside', () => {
    const given = [...licences.matchAll(/^-{80}\n\n(\S+) (\S+) \((\S+)\)\n\n(?:.*\n)*?.*\bcopyright\b/gim)];
    const names = given.map(([, name = '']) => name);
    const dependencies = Object.keys(manifestOf('.').dependencies ?? {}).filter((name) => !imported.includes(name));
    // The bundler names modules above their code; not all, but those of packages that packages need.
    const inside = [...dependencies, ...found(/^\s*\/\/ node_modules\/((?:@[^/]+\/)?[^/]+)\//gm)];

    expect(names).toEqual([...new Set(inside)].sort());
    for (const [, name = '', version, license] of given) {
      expect(manifestOf(`node_modules/${name}`)).toMatchObject({ version, license });
    }
  });
});

describe('the command line beside another version of classic-level than the one inside it', () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'stillpoint-bundle-'));

  afterAll(() => {
    rmSync(elsewhere, { recursive: true });
  });

  it('takes the whole of level from where it is installed', () => {
    cpSync(folder, join(elsewhere, 'dist/cli'), { recursive: true });
    symlinkSync(join(root, 'dist/native'), join(elsewhere, 'dist/native'));
    copyFileSync(join(root, 'package.json'), join(elsewhere, 'package.json'));
    const real = createRequire(import.meta.url).resolve('level');
    const level = `process.stderr.write('level as it is installed\\n');\nmodule.exports = require(${JSON.stringify(real)});\n`;
    for (const [name, version] of [
      ['level', '10.0.0'],
      ['classic-level', '0.0.0'],
    ] as const) {
      mkdirSync(join(elsewhere, 'node_modules', name), { recursive: true });
      writeFileSync(join(elsewhere, 'node_modules', name, 'package.json'), JSON.stringify({ name, version }));
      writeFileSync(join(elsewhere, 'node_modules', name, 'index.js'), name === 'level' ? level : '');
    }
    const main = join(elsewhere, 'dist/cli/main.js');
    const { status, stderr } = spawnSync(process.execPath, [main, 'init', '--store', join(elsewhere, 'store')], {
      encoding: 'utf8',
    });

    expect({ status, stderr }).toEqual({ status: 0, stderr: 'level as it is installed\n' });
  });
});
