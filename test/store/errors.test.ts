/** The table of codes, its document, and the places that give the codes agree. */

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { errorTable, isStillpointError, StillpointError, type ErrorCode } from '../../src/store/errors.js';

const root = path.resolve(import.meta.dirname, '../..');
const document = readFileSync(path.join(root, 'docs/errors.md'), 'utf8');
const codes = Object.keys(errorTable).sort();

/** The section of each code in the document. */
const sections = new Map(
  document
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.slice(0, section.indexOf('\n')), section]),
);

/** All TypeScript of the control side. */
function sources(): string {
  return ['catalog', 'consistency', 'control', 'coordinator', 'images', 'store']
    .flatMap((folder) =>
      readdirSync(path.join(root, 'src', folder)).map((file) => path.join(root, 'src', folder, file)),
    )
    .filter((file) => file.endsWith('.ts') && !file.endsWith('store/errors.ts'))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
}

describe('docs/errors.md', () => {
  it('has exactly one heading for each code, in order', () => {
    expect([...sections.keys()]).toEqual(codes);
  });

  it.each(Object.entries(errorTable))(
    'says when %s happens, what to do, its kind and its context',
    (code, { kind }) => {
      const section = sections.get(code) ?? '';

      expect(section).toMatch(/^When: /m);
      expect(section).toMatch(/^Do: /m);
      expect(section).toMatch(/^Context: /m);
      expect(section).toContain(`Kind \`${kind}\``);
    },
  );
});

describe('the table of codes', () => {
  it('is sorted, and every action is a sentence', () => {
    expect(Object.keys(errorTable)).toEqual([...Object.keys(errorTable)].sort());
    for (const { action } of Object.values(errorTable)) expect(action).toMatch(/^[A-Z].*\.$/);
  });

  it('has no code of the control side that nothing gives', () => {
    const text = sources();
    const unused = Object.entries(errorTable).filter(
      ([code, { origin }]) => origin === 'control' && !text.includes(`'${code}'`),
    );

    expect(unused.map(([code]) => code)).toEqual([]);
  });
});

describe('an error', () => {
  it('carries the kind and action of its code, and prints as one object', () => {
    const cause = new Error('below');
    const error = new StillpointError('NO_SPACE', 'the disk is full', { path: '/store' }, cause);

    expect(error).toMatchObject({ name: 'StillpointError', code: 'NO_SPACE', kind: 'retry', cause });
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      code: 'NO_SPACE',
      message: 'the disk is full',
      action: errorTable.NO_SPACE.action,
      context: { path: '/store' },
    });
  });

  it('is told by its code', () => {
    const error: unknown = new StillpointError('CANCELLED', 'stop');
    const other: ErrorCode = 'NO_SPACE';

    expect(isStillpointError(error)).toBe(true);
    expect(isStillpointError(error, 'CANCELLED')).toBe(true);
    expect(isStillpointError(error, other)).toBe(false);
    expect(isStillpointError(new Error('plain'))).toBe(false);
  });
});
