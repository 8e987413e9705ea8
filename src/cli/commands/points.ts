/** `capture`, `list`, `show`, `diff`, `hold`, `delete`. */

import { Argument, Option, type Command } from 'commander';
import { gatherWord, modes, parseGranularity } from '../arguments.js';
import { call, callDiff } from '../../control/call.js';
import { completes } from '../completion/kinds.js';
import type { Invoke } from '../invocation.js';
import { machineArgument } from './machines.js';

interface CaptureOptions {
  readonly name?: string;
  readonly collection?: string;
  readonly consistency?: keyof typeof modes;
  readonly exclude?: string[];
  readonly frozen?: true;
  readonly wait?: true;
}

interface DiffOptions {
  readonly disk?: string;
  readonly diskBefore?: string;
  readonly granularity?: number;
  readonly summary?: true;
}

/** The argument that names a restore point. */
export function pointArgument(name = '<point>', description = 'VM/POINT or VM/COLLECTION/POINT'): Argument {
  return completes(new Argument(name, description), 'point');
}

/** `--disk`, which may be left out where there is only one. */
export function diskOption(): Option {
  return completes(new Option('--disk <role>', 'role of the disk; needed where the point has several'), 'role');
}

function captureCommand(program: Command, invoke: Invoke): void {
  program
    .command('capture')
    .description('Capture all disks of a machine as one restore point.')
    .addArgument(machineArgument())
    .option('--name <name>', 'name of the point (default: the time, in UTC)')
    .option('--collection <name>', 'collection that it goes to (default: default)')
    .addOption(new Option('--consistency <mode>', 'fail if it is not reached').choices(Object.keys(modes)))
    .addOption(
      completes(new Option('--exclude <role>', 'leave a disk out; once for each').argParser(gatherWord), 'role'),
    )
    .option('--frozen', 'vouch that block devices do not change meanwhile')
    .option('--wait', 'wait until managed disks are copied, too')
    .action((machine: string, options: CaptureOptions, command: Command) =>
      invoke(command, {
        run: (context) =>
          call(context, 'capture', {
            machine,
            name: options.name ?? null,
            collection: options.collection ?? null,
            consistency: options.consistency === undefined ? null : modes[options.consistency],
            exclude: options.exclude ?? [],
            frozen: options.frozen === true,
            wait: options.wait === true,
          }),
        render: async (point, style) => (await import('../render/points.js')).captureSentence(point, style),
        notes: (point) =>
          point.state === 'cut'
            ? ['it can be used at once; its copy goes on whenever the store is open for writing']
            : [],
      }),
    );
}

function diffCommand(program: Command, invoke: Invoke): void {
  program
    .command('diff')
    .description('List the extents of a disk in which two points differ.')
    .addArgument(pointArgument('<before>', 'the older point'))
    .addArgument(pointArgument('<after>', 'the newer point, of the same machine or another'))
    .addOption(diskOption())
    .addOption(completes(new Option('--disk-before <role>', 'role in the older point, if it was another'), 'role'))
    .addOption(
      new Option(
        '--granularity <size>',
        'read differing chunks and compare blocks of this size, 512 to the chunk size (default: whole chunks)',
      ).argParser(parseGranularity),
    )
    .option('--summary', 'print only the sums')
    .action((before: string, after: string, options: DiffOptions, command: Command) => {
      const request = {
        before,
        after,
        disk: options.disk ?? null,
        diskBefore: options.diskBefore ?? null,
        granularity: options.granularity ?? null,
      };
      if (options.summary === true) {
        return invoke(command, {
          run: (context) => call(context, 'diff', request),
          render: async (summary) => (await import('../render/reports.js')).diffReport(summary),
        });
      }
      return invoke(command, {
        write: async (context, terminal) => {
          const { writeExtents, writeSummary } = await import('../extent-writer.js');
          // The extents themselves tell how far it is, and a progress line would run into them.
          const quiet = { ...context, onProgress: () => undefined };
          const summary = await callDiff(quiet, request, (stream) => writeExtents(stream, terminal));
          await writeSummary(summary, terminal);
        },
      });
    });
}

/** Adds the commands about restore points. */
export function pointCommands(program: Command, invoke: Invoke): void {
  captureCommand(program, invoke);

  program
    .command('list')
    .description('List restore points, oldest first.')
    .addArgument(completes(new Argument('[vm]', 'only those of this machine'), 'machine'))
    .action((machine: string | undefined, _options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'list', { machine: machine ?? null }),
        render: async ({ value }, style) =>
          value.length === 0 ? '' : (await import('../render/points.js')).pointTable(value, style),
        notes: ({ value }) => (value.length === 0 ? [`${machine ?? 'the store'} has no restore points`] : []),
      }),
    );

  program
    .command('show')
    .description('Show a restore point, or a machine.')
    .addArgument(completes(new Argument('<name>', 'VM, VM/POINT or VM/COLLECTION/POINT'), 'machine-or-point'))
    .action((reference: string, _options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'show', { reference }),
        render: async (result, style) => {
          if ('reference' in result) return (await import('../render/points.js')).pointDetail(result, style);
          return (await import('../render/machines.js')).machineDetail(result, style);
        },
      }),
    );

  diffCommand(program, invoke);

  program
    .command('hold')
    .description('Keep a restore point from being deleted, or let it go again.')
    .addArgument(pointArgument())
    .option('--reason <text>', 'why it is held; whoever tries to delete it is told')
    .addOption(new Option('--release', 'take the hold away').conflicts('reason'))
    .action((point: string, { reason, release }: { reason?: string; release?: true }, command: Command) => {
      if (reason === undefined && release !== true) {
        command.error("error: required option '--reason <text>' or '--release' not specified");
      }
      return invoke(command, {
        run: (context) => call(context, 'hold', { point, reason: reason ?? null }),
        render: async (held) => (await import('../render/points.js')).holdSentence(held),
      });
    });

  program
    .command('delete')
    .description('Delete restore points, without asking; gc then gives back their space.')
    .addArgument(pointArgument('<point...>', 'VM/POINT or VM/COLLECTION/POINT'))
    .action((points: string[], _options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'delete', { points }),
        render: async (result) => (await import('../render/reports.js')).deletedReport(result.deleted),
      }),
    );
}
