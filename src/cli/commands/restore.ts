/** `restore`, `portable-restore`. */

import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { formatOption, gatherWord, parseMoment } from '../arguments.js';
import { call } from '../../control/call.js';
import { completes } from '../completion/kinds.js';
import type { Invoke, ResultTask } from '../invocation.js';
import type { PortablePointList } from '../../control/commands/portable-restore.js';
import type { RestoreResult } from '../../control/commands/restore.js';
import type { LiveRestoreResult } from '../../control/commands/restore-live.js';
import type { ImageFormat, MomentOption } from '../../index.js';
import { pointArgument } from './points.js';

interface RestoreOptions {
  readonly disk?: string[];
  readonly to?: string;
  readonly toDirectory?: string;
  readonly toDisk?: string;
  readonly inPlace?: true;
  readonly toVm?: string;
  readonly at?: MomentOption;
  readonly format?: ImageFormat;
  readonly overwrite?: true;
  readonly sync: boolean;
}

interface PortableOptions {
  readonly list?: true;
  readonly disk?: string[];
  readonly to?: string;
  readonly toDirectory?: string;
}

/** Where disks go: one to a file, or several into a directory. Paths are absolute. */
type Destination =
  | { readonly disk: string | null; readonly to: string }
  | { readonly disks: readonly string[] | null; readonly toDirectory: string };

const renderRestored: ResultTask<RestoreResult>['render'] = async (result, style) =>
  (await import('../render/reports.js')).restoreReport(result, style);

/** The options that say which disks go where. */
function withDestination(command: Command): Command {
  return command
    .addOption(
      completes(
        new Option('--disk <role>', 'role of the disk; with --to-directory once for each').argParser(gatherWord),
        'role',
      ),
    )
    .addOption(completes(new Option('--to <path>', 'a new file for one disk'), 'file').conflicts('toDirectory'))
    .addOption(
      completes(new Option('--to-directory <dir>', 'make a file for every disk, or for those of --disk'), 'directory'),
    );
}

/** An option that says where disks go, and goes with no other one of these. */
function liveDestination(flags: string, description: string): Option {
  const option = new Option(flags, description);
  const others = ['to', 'toDirectory', 'toDisk', 'inPlace', 'toVm', 'overwrite'];
  return option.conflicts(others.filter((name) => name !== option.attributeName()));
}

/** The task of a restore into the store itself; null when disks go to files. */
function liveTask(source: string, options: RestoreOptions, command: Command): ResultTask<LiveRestoreResult> | null {
  const { disk, toDisk, inPlace, toVm } = options;
  const named = { source, at: options.at ?? null };
  const render: ResultTask<LiveRestoreResult>['render'] = async (result, style) =>
    (await import('../render/disks.js')).liveRestoreReport(result, style);
  if (toDisk !== undefined) {
    if (disk !== undefined && disk.length > 1) command.error("error: option '--to-disk <name>' is for one disk");
    const request = { ...named, disk: disk?.[0] ?? null, name: toDisk };
    return { render, run: (context) => call(context, 'restore.toDisk', request) };
  }
  if (inPlace === true) {
    return {
      render,
      run: (context) => call(context, 'restore.inPlace', { ...named, disks: disk ?? null }),
    };
  }
  if (toVm === undefined) return null;
  if (disk !== undefined) command.error("error: option '--to-vm <name>' takes all disks; --disk does not go with it");
  return { render, run: (context) => call(context, 'restore.toMachine', { ...named, name: toVm }) };
}

function destinationOf(
  { disk, to, toDirectory }: Pick<RestoreOptions, 'disk' | 'to' | 'toDirectory'>,
  command: Command,
  workingDirectory: string,
): Destination {
  if (toDirectory !== undefined) {
    return { disks: disk ?? null, toDirectory: resolve(workingDirectory, toDirectory) };
  }
  if (to === undefined) command.error("error: required option '--to <path>' or '--to-directory <dir>' not specified");
  if (disk !== undefined && disk.length > 1) {
    command.error("error: option '--to <path>' is for one disk; use --to-directory for several");
  }
  return { disk: disk?.[0] ?? null, to: resolve(workingDirectory, to) };
}

/** Adds the commands that give disks back. */
export function restoreCommands(program: Command, invoke: Invoke): void {
  withDestination(
    program
      .command('restore')
      .description('Give disks back: to files, a device, a new managed disk, in place, or as a new machine.')
      .addArgument(pointArgument()),
  )
    .addOption(liveDestination('--to-disk <name>', 'make a new managed disk of one disk, at once'))
    .addOption(liveDestination('--in-place', 'give the disks of the machine back what they had, at once'))
    .addOption(liveDestination('--to-vm <name>', 'make a new machine with managed disks, at once'))
    .addOption(
      new Option('--at <moment>', 'an LSN or a time; a machine is then named instead of a point').argParser(
        parseMoment,
      ),
    )
    .addOption(formatOption('what the files are (default: raw)').conflicts(['toDisk', 'inPlace', 'toVm']))
    .option('--overwrite', 'write over existing files or a block device, in place')
    .option('--no-sync', 'do not wait until the result is durable')
    .addHelpText(
      'after',
      '\nExamples: stillpoint restore web1/rp1 --disk os --to os.raw\n          stillpoint restore web1/rp1 --to-directory out' +
        '\n          stillpoint restore web2 --at 2026-11-23T04:28:14Z --to-vm web3',
    )
    .action((point: string, options: RestoreOptions, command: Command) => {
      const live = liveTask(point, options, command);
      if (live !== null) return invoke(command, live);
      const destination = destinationOf(options, command, invoke.workingDirectory);
      const { at = null, format = null, overwrite = false, sync } = options;
      const settings = { point, at, format, overwrite, sync };
      return invoke(command, {
        run: (context) =>
          'to' in destination
            ? call(context, 'restore.disk', { ...settings, ...destination })
            : call(context, 'restore.disks', { ...settings, ...destination }),
        render: renderRestored,
      });
    });

  withDestination(
    program
      .command('portable-restore')
      .description('Write disks to new files with the independent reader, which needs no native addon.')
      .addArgument(pointArgument('[point]'))
      .addOption(new Option('--list', 'list the points that it finds').conflicts(['disk', 'to', 'toDirectory'])),
  ).action((point: string | undefined, options: PortableOptions, command: Command) => {
    if (options.list === true) return invoke(command, listTask);
    if (point === undefined) command.error("error: missing required argument 'point'");
    const destination = destinationOf(options, command, invoke.workingDirectory);
    return invoke(command, {
      run: async (context) => {
        const { portableRestore, portableRestoreDisks } = await import('../../control/commands/portable-restore.js');
        return 'to' in destination
          ? portableRestore(context, { point, ...destination })
          : portableRestoreDisks(context, { point, ...destination });
      },
      render: renderRestored,
    });
  });
}

const listTask: ResultTask<PortablePointList> = {
  run: async (context) => (await import('../../control/commands/portable-restore.js')).portableList(context),
  render: async ({ value }, style) =>
    value.length === 0 ? '' : (await import('../render/points.js')).portablePointTable(value, style),
  notes: ({ value }) => (value.length === 0 ? ['the store has no restore points'] : []),
};
