/**
 * The `stillpoint` command with a fake library, for tests that need a process of its own.
 *
 * STILLPOINT_FAKE says what its world is like, as JSON: `hangs` (long calls wait to be cancelled), `stubborn` (they do
 * not even heed that), `extents` (how many a diff yields).
 */

import { runProcess } from '../../src/cli/process.js';
import { fakeLibrary } from './fake-library.js';
import { userWithPoints } from './fake-shell.js';

interface Wishes {
  readonly hangs?: boolean;
  readonly stubborn?: boolean;
  readonly extents?: number;
}

function* manyExtents(count: number): Generator<{ offset: number; length: number; kind: 'data' }> {
  for (let index = 0; index < count; index += 1) yield { offset: index * 131_072, length: 65_536, kind: 'data' };
}

const wishes = JSON.parse(process.env['STILLPOINT_FAKE'] ?? '{}') as Wishes;
const { world } = await userWithPoints();
world.hangs = wishes.hangs === true || wishes.stubborn === true;
world.stubborn = wishes.stubborn === true;
// Tells the test when to send its signals.
world.onHang = () => process.stderr.write('hanging\n');
if (wishes.extents !== undefined) world.extents = manyExtents(wishes.extents);
await runProcess(fakeLibrary(world));
