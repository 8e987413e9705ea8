/** `npm run -s stillpoint -- ARGS`: the command line of the checkout, built first if it is not current. */

import { becomeProgram } from './lib/program.mjs';
import { main } from './lib/run.mjs';

await main(() => becomeProgram('dist/cli/main.js'));
