/** Runs before each test file: fast-check draws from the seed of the run and shows how to repeat a failure. */

import fc from 'fast-check';

import { testSeed } from './seed.js';

fc.configureGlobal({ seed: testSeed, verbose: fc.VerbosityLevel.Verbose });
