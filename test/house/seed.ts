/**
 * The one seed that all chance of a test run comes from.
 *
 * STILLPOINT_TEST_SEED names it; it is 1 otherwise, so that a run can be repeated without knowing anything.
 */

import process from 'node:process';

const text = process.env['STILLPOINT_TEST_SEED'] ?? '1';

if (!/^\d{1,9}$/.test(text)) throw new Error(`STILLPOINT_TEST_SEED is ${JSON.stringify(text)}, not 1 to 9 digits`);

export const testSeed: number = Number(text);
