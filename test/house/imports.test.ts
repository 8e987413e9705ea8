/** Imports go one way: the table of allowed ones, compared with what every file of both sides says. */

import { describe, expect, it } from 'vitest';

import {
  bindingMay,
  documented,
  engineFoundation,
  engineRows,
  foundation,
  typeScriptRows,
  type ImportRow,
} from './allowed-imports.js';
import { cratePaths, enginePaths, isRustTest, modulePath } from './rust-imports.js';
import { exists, filesIn, textOf } from './tree.js';
import { packageNameOf, targetOf, typeScriptImports, withoutEnding } from './typescript-imports.js';

/** The unit of a path below `src/`: the longest row that it begins with. */
function unitOf(file: string): ImportRow | null {
  const name = withoutEnding(file);
  const own = typeScriptRows.filter(({ unit }) => name === unit || name.startsWith(`${unit}/`));
  return own.sort((left, right) => right.unit.length - left.unit.length)[0] ?? null;
}

/** What is wrong with the imports of one TypeScript file, its path given below `src/`. */
function typeScriptFaults(file: string, text: string): string[] {
  const row = unitOf(file);
  if (row === null) return [`src/${file}: no row in test/house/allowed-imports.ts`];
  const isFoundation = foundation.includes(withoutEnding(file));
  const faults: string[] = [];
  for (const { specifier, isReExport, line } of typeScriptImports(text)) {
    const fault = (reason: string): void => {
      faults.push(`src/${file}:${line}: ${specifier}: ${reason}`);
    };
    const isIndex = withoutEnding(file).split('/').at(-1) === 'index';
    if (isReExport && !isIndex) fault('only an index re-exports');
    if (specifier.startsWith('node:')) {
      if (row.unit === 'web') fault('web runs in a browser');
      continue;
    }
    if (!specifier.startsWith('.')) {
      const allowed = row.packages?.includes(packageNameOf(specifier)) ?? false;
      if (!allowed || isFoundation) fault(`no package of ${row.unit}`);
      continue;
    }
    const target = targetOf(file, specifier);
    if (target.startsWith('native/generated/')) {
      if (withoutEnding(file) !== 'native/binding') fault('only native/binding.ts imports what is generated');
      continue;
    }
    if (foundation.includes(target)) {
      if (row.standsAlone === true) fault(`${row.unit} stands alone`);
      continue;
    }
    const unit = unitOf(target)?.unit;
    if (isFoundation) fault('the foundation imports itself only');
    else if (unit === undefined) fault('no such unit');
    else if (unit !== row.unit && !row.may.includes(unit)) fault(`${row.unit} may not import ${unit}`);
  }
  return faults;
}

/** What is wrong with what one file of the engine names, its path given below `native/engine/src/`. */
function engineFaults(file: string, text: string): string[] {
  const [unit] = modulePath(file);
  // The root names its modules and re-exports; it holds no code that could go the wrong way.
  if (unit === undefined || isRustTest(file)) return [];
  const row = engineRows.find((each) => each.unit === unit);
  const isFoundation = engineFoundation.includes(unit);
  if (row === undefined && !isFoundation) {
    return [`native/engine/src/${file}: no row in test/house/allowed-imports.ts`];
  }
  return cratePaths(file, text).flatMap(({ head, line }) => {
    if (head === unit || engineFoundation.includes(head) || (row?.may.includes(head) ?? false)) return [];
    return [`native/engine/src/${file}:${line}: ${unit} may not name crate::${head}`];
  });
}

function bindingFaults(file: string, text: string): string[] {
  return enginePaths(text).flatMap(({ head, line }) => {
    // A capital letter: an item that the engine's root re-exports.
    if (bindingMay.includes(head) || /^[A-Z]/.test(head)) return [];
    return [`${file}:${line}: the binding may not name stillpoint_engine::${head}`];
  });
}

/** All faults of the files in a folder, their paths given from it. */
function faultsIn(folder: string, ending: string, faults: (file: string, text: string) => string[]): string[] {
  const files = filesIn(folder).filter((file) => file.endsWith(ending));
  return files.flatMap((file) => faults(file.slice(folder.length + 1), textOf(file)));
}

describe('imports go one way', () => {
  it('in src, by the table', () => {
    const faults = faultsIn('src', '.ts', (file, text) => typeScriptFaults(file, text));

    expect(faults).toEqual([]);
  });

  it('in the engine, by the table', () => {
    const faults = faultsIn('native/engine/src', '.rs', engineFaults);

    expect(faults).toEqual([]);
  });

  it('in the binding, which knows the top of the engine only', () => {
    const faults = faultsIn('native/binding/src', '.rs', bindingFaults);

    expect(faults).toEqual([]);
  });

  it('and the tables have no circle, so that there is an order to read in', () => {
    for (const rows of [typeScriptRows, engineRows]) {
      const placed = new Set<string>(['native/generated']);
      let left = [...rows];
      while (left.length > 0) {
        const ready = left.filter((row) => row.may.every((unit) => placed.has(unit)));
        expect(ready, `a circle among ${left.map((row) => row.unit).join(', ')}`).not.toEqual([]);
        for (const row of ready) placed.add(row.unit);
        left = left.filter((row) => !placed.has(row.unit));
      }
    }
  });

  it.skipIf(!exists('docs/architecture.md'))('and docs/architecture.md shows the same tables', () => {
    const lines = textOf('docs/architecture.md').split('\n');
    const wanted = [...documented(typeScriptRows, true), ...documented(engineRows, false)];

    expect(lines).toEqual(expect.arrayContaining(wanted));
  });
});

describe('the reader of imports finds a planted', () => {
  it.each([
    ['portable/store.ts', `import { x } from '../store/errors.js';`],
    ['catalog/records.ts', `import type { X } from '../coordinator/capture.js';`],
    ['coordinator/capture.ts', `const x = await import('../native/binding.js');`],
    ['coordinator/capture.ts', `type X = import('../store/open.js').X;`],
    ['store/errors.ts', `import { x } from '../catalog/records.js';`],
    ['cli/main.ts', `import { plus } from '../native/generated/binding.cjs';`],
    ['store/open.ts', `export { x } from './x.js';`],
    ['store/open.ts', `import { Level } from 'level';`],
    ['control/command.ts', `import { main } from '../cli/main.js';`],
    ['web/page.ts', `import fs from 'node:fs';`],
    ['newcomer/file.ts', ''],
  ])('wrong import in src/%s: %s', (file, text) => {
    expect(typeScriptFaults(file, text)).toHaveLength(1);
  });

  it.each([
    ['io/file.rs', 'use crate::format::Codec;'],
    ['format/pack.rs', 'use crate::{limits::MAX, io::{Io, IoFile}, units::Uid};'],
    ['chunk_store/mod.rs', 'fn f() { crate::block_map::root(); }'],
    ['chunk_store/mod.rs', 'use super::scan::Scan;'],
    ['chunk_store/index/list.rs', 'use super::super::super::scan;'],
    ['units.rs', 'mod inner { use super::super::io; }'],
    ['diff.rs', 'use crate::*;'],
    ['diff.rs', `fn f<'a>(x: &'a str) -> char { '"' } use crate::scan::X; // "`],
    ['newcomer.rs', ''],
  ])('wrong path in engine/src/%s: %s', (file, text) => {
    expect(engineFaults(file, text)).toHaveLength(1);
  });

  it.each([
    ['scan/mod.rs', '// use crate::engine::X;\n/* crate::engine */ const T: &str = "crate::engine";'],
    ['scan/mod.rs', '#[cfg(test)]\nmod tests { use crate::engine::Engine; use super::*; }'],
    ['scan/reader.rs', 'use super::Scan; use super::super::io::Io; use crate::block_map::{Map, node::Node};'],
    ['scan/tests.rs', 'use crate::engine::Engine;'],
    ['lib.rs', 'pub use crate::engine::Engine;'],
  ])('and nothing wrong in engine/src/%s: %s', (file, text) => {
    expect(engineFaults(file, text)).toEqual([]);
  });

  it('path past the top of the engine in the binding', () => {
    const text = 'use stillpoint_engine::{Engine, engine::Open, chunk_store::Pack};';

    expect(bindingFaults('lib.rs', text)).toHaveLength(1);
  });
});
