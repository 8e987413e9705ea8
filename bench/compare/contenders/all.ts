/** Everyone, ours first: ratios are to it. */

import type { Contender } from '../contender.js';
import { b3sum } from './b3sum.js';
import { borgLarge, borgSmall } from './borg.js';
import { copy } from './copy.js';
import { qemuImg } from './qemu-img.js';
import { restic } from './restic.js';
import { stillpoint } from './stillpoint.js';

export const contenders: readonly Contender[] = [stillpoint, restic, borgSmall, borgLarge, qemuImg, b3sum, copy];
