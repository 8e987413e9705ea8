/** `bench`. */

import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { completes } from '../completion/kinds.js';
import type { Invoke } from '../invocation.js';
import { chunkRequest, withChunkOptions, type ChunkOptions } from './store.js';

interface BenchOptions extends ChunkOptions {
  readonly images: string[];
  readonly dir?: string;
  readonly keep?: true;
}

/** Adds `bench`. */
export function benchCommand(program: Command, invoke: Invoke): void {
  const command = program
    .command('bench')
    .description('Capture images into a temporary store twice, restore them, compare by hash; print the figures.')
    .addOption(
      completes(new Option('--images <path...>', 'images to capture, as one machine').makeOptionMandatory(), 'file'),
    )
    .addOption(
      completes(new Option('--dir <dir>', 'where to make the store (default: the temporary directory)'), 'directory'),
    )
    .option('--keep', 'keep the store and the restored files');
  withChunkOptions(command).action((options: BenchOptions, command: Command) =>
    invoke(command, {
      run: async (context) => {
        const { bench } = await import('../../control/commands/bench.js');
        return bench(context, {
          images: options.images.map((path) => resolve(invoke.workingDirectory, path)),
          directory: resolve(invoke.workingDirectory, options.dir ?? tmpdir()),
          keep: options.keep === true,
          ...chunkRequest(options),
        });
      },
      render: async (result, style) => (await import('../render/bench.js')).benchReport(result, style),
      exitCode: (result) => (result.identical ? 0 : 1),
    }),
  );
}
