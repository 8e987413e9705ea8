/** The package: what package.json promises is there, and what is used is declared. */

import { describe, expect, it } from 'vitest';

import { exists, filesIn, textOf } from './tree.js';
import { packageNameOf, typeScriptImports } from './typescript-imports.js';

interface Manifest {
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
  readonly files: readonly string[];
  readonly scripts: Readonly<Record<string, string>>;
  readonly engines: { readonly node: string };
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

interface LockEntry {
  readonly resolved?: string;
  readonly integrity?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

// Casts: both files are our own; a field that is missing fails the test that reads it.
const manifest = JSON.parse(textOf('package.json')) as Manifest;
const lock = JSON.parse(textOf('package-lock.json')) as {
  readonly packages: Readonly<Record<string, LockEntry>>;
};

/** The source that a built file is made from. */
function sourceOf(built: string): string {
  return built.replace(/^(\.\/)?dist\//, 'src/').replace(/(\.d\.ts|\.js)$/, '.ts');
}

describe('package.json', () => {
  it('exports and runs files that the build makes', () => {
    const entries = Object.values(manifest.exports).flatMap((entry) =>
      typeof entry === 'string' ? [entry] : [entry.types, entry.default],
    );
    const built = [...entries, ...Object.values(manifest.bin)].filter((file) => file.includes('dist/'));

    expect(built.map(sourceOf).filter((file) => !exists(file))).toEqual([]);
  });

  it('gives the types and the code of one module for each entry', () => {
    for (const entry of Object.values(manifest.exports)) {
      if (typeof entry !== 'string') expect(sourceOf(entry.types)).toBe(sourceOf(entry.default));
    }
  });

  it('lists files that exist', () => {
    expect(manifest.files.filter((file) => file !== 'dist' && !exists(file))).toEqual([]);
  });

  it('runs scripts that exist', () => {
    const scripts = Object.values(manifest.scripts).flatMap((script) => /^node (\S+)/.exec(script)?.[1] ?? script);

    expect(scripts.filter((script) => !exists(script))).toEqual([]);
  });

  it('declares every package that src imports, and has no other dependency', () => {
    const imported = new Set(
      filesIn('src')
        .filter((file) => file.endsWith('.ts') && !file.includes('/generated/'))
        .flatMap((file) => typeScriptImports(textOf(file)).map(({ specifier }) => specifier))
        .filter((specifier) => !specifier.startsWith('.') && !specifier.startsWith('node:'))
        .map(packageNameOf),
    );
    const declared = new Set([...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)]);

    expect([...imported].filter((name) => !declared.has(name))).toEqual([]);
    expect(Object.keys(manifest.dependencies).filter((name) => !imported.has(name))).toEqual([]);
  });

  it('asks for the Node.js version that the scripts ask for', () => {
    const [, major, minor] = /nodeLowest = \[(\d+), (\d+)\]/.exec(textOf('scripts/lib/run.mjs')) ?? [];

    expect(manifest.engines.node).toBe(`>=${major ?? ''}.${minor ?? ''}.0`);
  });

  it('has a reason for every package in docs/decisions/0002-packages.md', () => {
    const reasons = textOf('docs/decisions/0002-packages.md');
    const names = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.devDependencies)];
    const crates = ['native/engine/Cargo.toml', 'native/binding/Cargo.toml'].flatMap((file) =>
      [...textOf(file).matchAll(/^\[(?:build-|dev-)?dependencies\]\n((?:(?!\[).*\n?)*)/gm)].flatMap(([, body = '']) =>
        [...body.matchAll(/^([\w-]+)/gm)].map(([, name = '']) => name),
      ),
    );
    const unexplained = [...names, ...crates].filter((name) => !reasons.includes(`\n| \`${name}\` |`));

    expect(unexplained.filter((name) => name !== 'stillpoint-engine')).toEqual([]);
  });
});

describe('package-lock.json', () => {
  it('pins contents by hash and names no server', () => {
    const installed = Object.entries(lock.packages).filter(([folder]) => folder !== '');

    expect(installed.filter(([, entry]) => entry.resolved !== undefined).map(([folder]) => folder)).toEqual([]);
    expect(installed.filter(([, entry]) => entry.integrity === undefined).map(([folder]) => folder)).toEqual([]);
  });

  it('has the packages of every platform', () => {
    // npm leaves out what it could not find when the file was made, and `npm ci` then refuses the file everywhere.
    const asked = Object.values(lock.packages).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}));
    const folders = Object.keys(lock.packages);

    expect(asked.filter((name) => !folders.some((folder) => folder.endsWith(`node_modules/${name}`)))).toEqual([]);
  });
});
