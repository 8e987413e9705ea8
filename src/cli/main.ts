#!/usr/bin/env node
/** The `stillpoint` command. */

import { library } from '../control/library.js';
import { runProcess } from './process.js';

await runProcess(library);
