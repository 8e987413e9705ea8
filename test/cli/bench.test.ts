/** `bench`: what it measures and what it leaves behind. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parsePage } from './docs-page.js';
import { FakeUser } from './fake-shell.js';
import { shapeOf } from './shape-of.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'stillpoint-test-'));
  writeFileSync(join(directory, 'os.raw'), Buffer.alloc(65_536, 1));
  writeFileSync(join(directory, 'data.raw'), Buffer.alloc(131_072, 2));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

describe('bench', () => {
  test('has the steps and the shape that docs/cli.md shows', async () => {
    const { code, out } = await new FakeUser().type('bench --images os.raw data.raw --dir . --json', {
      workingDirectory: directory,
    });
    expect(code).toBe(0);
    const result = JSON.parse(out) as { identical: boolean; steps: { step: string }[]; images: { sha256: string }[] };
    expect(result.identical).toBe(true);
    const page = parsePage(readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8'));
    const shown = page.blocks.findLast((block) => block.language === 'json');
    const example = JSON.parse(shown?.lines.join('\n') ?? '') as typeof result;
    expect(shapeOf(result)).toEqual(shapeOf(example));
    expect(result.steps.map(({ step }) => step)).toEqual(example.steps.map(({ step }) => step));
  });

  test('says which directory it cannot work in', async () => {
    const { code, err } = await new FakeUser().type('bench --images os.raw --dir missing', {
      workingDirectory: directory,
    });
    expect(code).toBe(1);
    expect(err).toContain(`cannot make a directory in ${join(directory, 'missing')}`);
    expect(err).toContain('(TARGET_INVALID)');
  });

  test('removes what it made, and keeps it when it is asked to', async () => {
    await new FakeUser().type('bench --images os.raw --dir .', { workingDirectory: directory });
    expect(readdirSync(directory).sort()).toEqual(['data.raw', 'os.raw']);
    const { out } = await new FakeUser().type('bench --images os.raw --dir . --keep', { workingDirectory: directory });
    const kept = readdirSync(directory).find((name) => name.startsWith('stillpoint-bench-')) ?? '';
    expect(readdirSync(join(directory, kept))).toEqual(['disk1-os.raw']);
    expect(out).toContain(`kept in ${join(directory, kept)}`);
  });

  test('removes what it made after a failure too', async () => {
    const { code, err } = await new FakeUser().type('bench --images os.raw nothing.raw --dir .', {
      workingDirectory: directory,
    });
    expect(code).toBe(1);
    expect(err).toContain('(SOURCE_NOT_FOUND)');
    expect(readdirSync(directory).sort()).toEqual(['data.raw', 'os.raw']);
  });

  test('ends with 1 when a restored file differs', async () => {
    const user = new FakeUser();
    user.world.corrupts = true;
    const { code, out } = await user.type('bench --images os.raw --dir .', { workingDirectory: directory });
    expect(code).toBe(1);
    expect(out).toContain('DIFFERENT');
  });
});
