/** The helpers that tests stand on: tools, sizes, seeds. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { overSeeds } from './seed-range.js';
import { testSeed } from './seed.js';
import { runs } from './size.js';
import { packageOf, requireTool } from './tools.js';

let folder = '';

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-house-'));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

describe('requireTool', () => {
  beforeEach(() => {
    vi.stubEnv('STILLPOINT_TEST_NOTICES', path.join(folder, 'notices'));
  });

  it('names the Debian package of a program', () => {
    expect(packageOf('mke2fs')).toBe('e2fsprogs');
    expect(packageOf('e2fsprogs')).toBeNull();
  });

  it('refuses a program that the list of packages does not have', () => {
    expect(() => requireTool('no-such-program')).toThrow('scripts/ci-packages.txt');
  });

  it('gives the path of a program that is there', () => {
    const tool = requireTool('mount');
    expect(tool.isMissing ? tool.name : path.basename(tool.path)).toBe('mount');
  });

  it('fails for a missing program in CI and leaves a notice elsewhere', async () => {
    vi.stubEnv('PATH', folder);
    vi.resetModules();
    const fs = await import('node:fs');
    vi.doMock('node:fs', () => ({
      ...fs,
      accessSync: () => {
        throw new Error('not there');
      },
    }));
    const { requireTool: requireNow } = await import('./tools.js');

    expect(() => requireNow('qemu-img', true)).toThrow('install qemu-utils');
    expect(requireNow('qemu-img', false).isMissing).toBe(true);
    expect(readFileSync(path.join(folder, 'notices'), 'utf8')).toContain('qemu-utils');
    vi.doUnmock('node:fs');
  });
});

describe('overSeeds', () => {
  it('goes over the seeds in order and sums what each counts', async () => {
    const seen: number[] = [];
    const counts = await overSeeds({ suite: 'order', quick: 3, full: 3 }, (seed) => {
      seen.push(seed);
      return { seeds: 1, twice: 2 };
    });

    expect(seen).toEqual([testSeed, testSeed + 1, testSeed + 2]);
    expect(counts).toEqual({ seeds: 3, twice: 6 });
  });

  it('goes on from the seed that failed', async () => {
    vi.stubEnv('STILLPOINT_TEST_PROGRESS', folder);
    const range = { suite: 'again', quick: 4, full: 4 };
    const failing = testSeed + 2;
    const seen: number[] = [];

    const stopped = overSeeds(range, (seed) => {
      if (seed === failing) throw new Error('planted');
      return { seeds: 1 };
    });
    await expect(stopped).rejects.toThrow(`seed ${failing} failed`);
    const counts = await overSeeds(range, (seed) => {
      seen.push(seed);
      return { seeds: 1 };
    });

    expect(seen).toEqual([failing, failing + 1]);
    expect(counts).toEqual({ seeds: 4 });
    expect(readdirSync(folder)).toEqual(['again.json']);
  });
});

describe('runs', () => {
  it('takes one of the two numbers', () => {
    expect([1, 2]).toContain(runs(1, 2));
  });
});
