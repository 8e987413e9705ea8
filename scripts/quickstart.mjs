/**
 * `npm run quickstart`: installs, builds, then runs the main job on real input.
 *
 * Without arguments the program makes its own disks; with arguments it takes the user's images.
 */

import { becomeProgram } from './lib/program.mjs';
import { main } from './lib/run.mjs';

await main(() => becomeProgram('examples/quickstart.mjs'));
