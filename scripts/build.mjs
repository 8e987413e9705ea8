/** `npm run build`: installs packages if needed, then builds the addon and the TypeScript. */

import { build } from './lib/build.mjs';
import { ensureInstalled } from './lib/install.mjs';
import { main } from './lib/run.mjs';

await main(async () => {
  await ensureInstalled();
  await build();
});
