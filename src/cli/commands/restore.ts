/** `restore`, `portable-restore`. */

import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { completes } from '../completion/kinds.js';
import type { Invoke, ResultTask } from '../invocation.js';
import type { PortablePointList } from '../../control/commands/portable-restore.js';
import type { RestoreResult } from '../../control/commands/restore.js';
import { diskOption, pointArgument } from './points.js';

interface RestoreOptions {
  readonly disk?: string;
  readonly to?: string;
  readonly all?: true;
  readonly toDir?: string;
  readonly overwrite?: true;
  readonly sync: boolean;
}

interface PortableOptions {
  readonly list?: true;
  readonly disk?: string;
  readonly to?: string;
}

const renderRestored: ResultTask<RestoreResult>['render'] = async (result, style) =>
  (await import('../render/reports.js')).restoreReport(result, style);

/** Which of the two ways of saying where it goes was used; anything between them is an error. */
function checkRestoreOptions(options: RestoreOptions, command: Command): void {
  if (options.all === true) {
    if (options.toDir === undefined) command.error("error: required option '--to-dir <dir>' not specified with --all");
    return;
  }
  if (options.toDir !== undefined) command.error("error: option '--to-dir <dir>' is for --all; use --to for one disk");
  if (options.to === undefined) command.error("error: required option '--to <path>' not specified");
}

/** Adds the commands that give disks back. */
export function restoreCommands(program: Command, invoke: Invoke): void {
  program
    .command('restore')
    .description('Write a disk of a restore point to a file or device.')
    .addArgument(pointArgument())
    .addOption(diskOption().conflicts('all'))
    .addOption(completes(new Option('--to <path>', 'a new file'), 'file').conflicts(['all', 'toDir']))
    .option('--all', 'restore every disk of the point')
    .addOption(completes(new Option('--to-dir <dir>', 'with --all: where to make ROLE.raw for each disk'), 'directory'))
    .option('--overwrite', 'write over an existing file or block device, in place')
    .option('--no-sync', 'do not wait until the result is durable')
    .addHelpText('after', '\nExample: stillpoint restore web1/rp1 --disk os --to os.raw')
    .action((point: string, options: RestoreOptions, command: Command) => {
      checkRestoreOptions(options, command);
      const settings = { point, overwrite: options.overwrite === true, sync: options.sync };
      return invoke(command, {
        run: async (context) => {
          const { restoreAll, restoreDisk } = await import('../../control/commands/restore.js');
          if (options.to === undefined) {
            return restoreAll(context, {
              ...settings,
              toDirectory: resolve(invoke.workingDirectory, options.toDir ?? ''),
            });
          }
          const to = resolve(invoke.workingDirectory, options.to);
          return restoreDisk(context, { ...settings, disk: options.disk ?? null, to });
        },
        render: renderRestored,
      });
    });

  program
    .command('portable-restore')
    .description('Write a disk to a new file with the independent reader, which needs no native addon.')
    .addArgument(pointArgument('[point]'))
    .addOption(new Option('--list', 'list the points that it finds').conflicts(['disk', 'to']))
    .addOption(diskOption())
    .addOption(completes(new Option('--to <path>', 'a new file'), 'file'))
    .action((point: string | undefined, options: PortableOptions, command: Command) => {
      if (options.list === true) return invoke(command, listTask);
      const { disk, to } = options;
      if (point === undefined) command.error("error: missing required argument 'point'");
      if (to === undefined) command.error("error: required option '--to <path>' not specified");
      return invoke(command, {
        run: async (context) => {
          const { portableRestore } = await import('../../control/commands/portable-restore.js');
          return portableRestore(context, { point, disk: disk ?? null, to: resolve(invoke.workingDirectory, to) });
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
