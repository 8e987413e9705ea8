/** `init`, `status`, `verify`, `gc`, `reopen`. */

import { Option, type Command } from 'commander';
import { parseChunkSize, parseRate, parseWhole } from '../arguments.js';
import { call } from '../../control/call.js';
import type { Invoke } from '../invocation.js';
import type { Compression } from '../../control/library.js';

/** The options that choose how chunks are stored, shared by `init` and `bench`. */
export interface ChunkOptions {
  readonly chunkSize?: number;
  readonly compression?: Compression;
  readonly level?: number;
}

/** Adds `--chunk-size`, `--compression` and `--level`. */
export function withChunkOptions(command: Command): Command {
  const sizes = ['16KiB', '64KiB', '256KiB', '1MiB'];
  // `choices` is only for help and completion here: it would refuse `65536`, which the parser takes.
  const size = new Option('--chunk-size <size>', `size of a chunk: ${sizes.join(', ')} (default: 64KiB)`);
  size.argChoices = sizes;
  return command
    .addOption(size.argParser(parseChunkSize))
    .addOption(
      new Option('--compression <codec>', 'codec of new chunks (default: zstd)').choices(['zstd', 'lz4', 'none']),
    )
    .addOption(new Option('--level <n>', 'zstd level, 1 to 19 (default: 2)').argParser(parseWhole(1, 19)));
}

/** What the chunk options ask for. */
export function chunkRequest(options: ChunkOptions): {
  chunkBytes: number | null;
  compression: Compression | null;
  compressionLevel: number | null;
} {
  return {
    chunkBytes: options.chunkSize ?? null,
    compression: options.compression ?? null,
    compressionLevel: options.level ?? null,
  };
}

/** Adds the commands about the store itself. */
export function storeCommands(program: Command, invoke: Invoke): void {
  withChunkOptions(program.command('init'))
    .description('Make a store.')
    .action((options: ChunkOptions, command: Command) =>
      invoke(command, {
        run: async (context) => (await import('../../control/commands/init.js')).init(context, chunkRequest(options)),
        render: async (result, style) => (await import('../render/reports.js')).initReport(result, style),
      }),
    );

  program
    .command('status')
    .description('Show sizes, contents and running work of the store.')
    .option('--watch', 'look again and again, until Ctrl-C')
    .addOption(new Option('--interval <seconds>', 'time between two looks of --watch').argParser(parseWhole(1, 3600)))
    .action(({ watch, interval }: { watch?: true; interval?: number }, command: Command) => {
      if (watch === true) {
        return invoke(command, {
          write: async (context, terminal) =>
            (await import('../watch.js')).watchStatus(context, terminal, (interval ?? 2) * 1000),
        });
      }
      if (interval !== undefined) command.error("error: option '--interval <seconds>' goes with --watch");
      return invoke(command, {
        run: (context) => call(context, 'status', {}),
        render: async (result, style) => (await import('../render/status.js')).statusReport(result, style),
      });
    });

  program
    .command('verify')
    .description('Check that every restore point can be read; exit code 1 if one cannot.')
    .option('--read-data', 'read and check every chunk too')
    .action((options: { readData?: true }, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'verify', { readData: options.readData === true }),
        render: async (result, style) => (await import('../render/reports.js')).verifyReport(result, style),
        exitCode: (result) => (result.findings.length === 0 ? 0 : 1),
      }),
    );

  program
    .command('gc')
    .description('Give back the space of deleted restore points.')
    .option('--dry-run', 'only tell what would be freed')
    .option('--rate <size>', 'move at most so many bytes a second', parseRate)
    .action((options: { dryRun?: true; rate?: number }, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'gc', { dryRun: options.dryRun === true, bytesPerSecond: options.rate }),
        render: async (result, style) => (await import('../render/reports.js')).collectReport(result, style),
      }),
    );

  program
    .command('reopen')
    .description('Open the write logs that failed, while all others go on; exit code 1 if one cannot be opened.')
    .action((_options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'reopen', {}),
        render: async (result, style) => (await import('../render/reports.js')).reopenReport(result, style),
        exitCode: (result) => (result.failedLogs.length === 0 ? 0 : 1),
      }),
    );
}
