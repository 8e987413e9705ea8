import process from 'node:process';

import { defineConfig } from 'vitest/config';

const isFull = process.env['STILLPOINT_TEST_SIZE'] === 'full';
const seed = Number(process.env['STILLPOINT_TEST_SEED'] ?? 1);

const second = 1000;
const hour = 3600 * second;

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/house/setup.ts'],
    // Processes, not threads: an addon that crashes takes one test file with it, and signals and directories are real.
    pool: 'forks',
    maxWorkers: '100%',
    // The full size goes over long seed ranges in one test; the limit is there for what hangs.
    testTimeout: isFull ? 12 * hour : 60 * second,
    hookTimeout: isFull ? hour : 60 * second,
    // Files and tests run in the order they stand in; chance comes from the seed alone.
    sequence: { seed },
    // `.only` left in a commit would silence all the others.
    allowOnly: process.env['CI'] !== 'true',
  },
});
