/** `disk create`, `disk import`, `disk clone`, `disk grow`, `disk limit`, `disk attach`, `disk detach`, `disk list`, `disk delete`. */

import { resolve } from 'node:path';
import { Argument, Option, type Command } from 'commander';
import { formatOption, parseOperationRate, parseRate, parseSectorSize, parseSize } from '../arguments.js';
import { call } from '../../control/call.js';
import { completes } from '../completion/kinds.js';
import type { Invoke, ResultTask } from '../invocation.js';
import type { DiskInfo, DiskLimits, ImageFormat } from '../../index.js';
import { machineArgument } from './machines.js';

interface SectorOptions {
  readonly sector?: 512 | 4096;
}

interface ImportOptions extends SectorOptions {
  readonly format?: ImageFormat;
}

interface LimitOptions {
  readonly operationsPerSecond?: number;
  readonly bytesPerSecond?: number;
}

const limitsOf = ({ operationsPerSecond, bytesPerSecond }: LimitOptions): DiskLimits => ({
  operationsPerSecond: operationsPerSecond ?? null,
  bytesPerSecond: bytesPerSecond ?? null,
});

const hasLimits = (options: LimitOptions): boolean =>
  options.operationsPerSecond !== undefined || options.bytesPerSecond !== undefined;

const diskArgument = (): Argument => completes(new Argument('<name>', 'name of the disk'), 'disk');

const newDiskArgument = (): Argument => new Argument('<name>', 'name of the new disk');

function sectorOption(): Option {
  const option = new Option('--sector <bytes>', 'sector size: 512 or 4096 (default: 512)');
  option.argChoices = ['512', '4096'];
  return option.argParser(parseSectorSize);
}

/** The options that limit what a disk may have. */
function withLimits(command: Command): Command {
  return command
    .addOption(
      new Option('--operations-per-second <n>', 'reads, writes, zeros and trims a second at most').argParser(
        parseOperationRate,
      ),
    )
    .addOption(new Option('--bytes-per-second <size>', 'bytes read and written a second at most').argParser(parseRate));
}

const sizeOption = (description: string): Option =>
  new Option('--size <size>', description).argParser(parseSize).makeOptionMandatory();

/** A task that is answered with a disk. */
function answering(verb: string, run: ResultTask<DiskInfo>['run']): ResultTask<DiskInfo> {
  return {
    run,
    render: async (disk) => (await import('../render/disks.js')).diskSentence(verb, disk),
  };
}

/** Adds `disk` and the commands below it. */
export function diskCommands(program: Command, invoke: Invoke): void {
  const disk = program
    .command('disk')
    .description('Create, import, clone, grow, limit, attach, detach, list and delete managed disks.')
    .usage('<command>')
    .helpCommand(false);

  withLimits(
    disk
      .command('create')
      .description('Create a detached disk of zeros; nothing is allocated.')
      .addArgument(newDiskArgument())
      .addOption(sizeOption('its size'))
      .addOption(sectorOption()),
  ).action((name: string, options: SectorOptions & LimitOptions & { size: number }, command: Command) => {
    const { size, sector } = options;
    const request = { name, sizeBytes: size, sectorBytes: sector ?? null, limits: limitsOf(options) };
    return invoke(
      command,
      answering('created', (context) => call(context, 'disk.create', request)),
    );
  });

  disk
    .command('import')
    .description('Create a detached disk with the content of an image or block device.')
    .addArgument(newDiskArgument())
    .addArgument(completes(new Argument('<file>', 'the image or device'), 'file'))
    .addOption(formatOption('format of the image (default: of a file by its first bytes, of a device raw)'))
    .addOption(sectorOption())
    .action((name: string, file: string, { format, sector }: ImportOptions, command: Command) => {
      const path = resolve(invoke.workingDirectory, file);
      return invoke(
        command,
        answering('imported', (context) =>
          call(context, 'disk.import', { name, path, format: format ?? null, sectorBytes: sector ?? null }),
        ),
      );
    });

  disk
    .command('clone')
    .description('Create a detached disk of a disk of a restore point, at once.')
    .addArgument(newDiskArgument())
    .addArgument(completes(new Argument('<point/disk>', 'VM/POINT/DISK or VM/COLLECTION/POINT/DISK'), 'point'))
    .action((name: string, pointDisk: string, _options: object, command: Command) =>
      invoke(
        command,
        answering('cloned', (context) => call(context, 'disk.clone', { name, pointDisk })),
      ),
    );

  disk
    .command('grow')
    .description('Make a disk larger; the new bytes are zero.')
    .addArgument(diskArgument())
    .addOption(sizeOption('its new size'))
    .action((name: string, { size }: { size: number }, command: Command) =>
      invoke(
        command,
        answering('grew', (context) => call(context, 'disk.grow', { name, sizeBytes: size })),
      ),
    );

  withLimits(
    disk
      .command('limit')
      .description('Limit what a disk may have a second; an option that is left out means no limit.')
      .addArgument(diskArgument()),
  ).action((name: string, options: LimitOptions, command: Command) =>
    invoke(
      command,
      answering('limited', (context) => call(context, 'disk.limit', { name, limits: limitsOf(options) })),
    ),
  );

  withLimits(
    disk
      .command('attach')
      .description('Attach a detached disk to a machine with managed disks.')
      .addArgument(machineArgument())
      .addArgument(diskArgument())
      .option('--role <role>', 'its role in the machine (default: the one that it has)'),
  ).action((machine: string, name: string, options: LimitOptions & { role?: string }, command: Command) => {
    const limits = hasLimits(options) ? limitsOf(options) : null;
    const request = { machine, name, role: options.role ?? null, limits };
    return invoke(
      command,
      answering('attached', (context) => call(context, 'disk.attach', request)),
    );
  });

  disk
    .command('detach')
    .description('Detach a disk from its machine; it keeps its content.')
    .addArgument(diskArgument())
    .action((name: string, _options: object, command: Command) =>
      invoke(
        command,
        answering('detached', (context) => call(context, 'disk.detach', { name })),
      ),
    );

  disk
    .command('list')
    .description('List the managed disks.')
    .action((_options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'disk.list', {}),
        render: async ({ value }, style) =>
          value.length === 0 ? '' : (await import('../render/disks.js')).diskTable(value, style),
        notes: ({ value }) => (value.length === 0 ? ['the store has no managed disks'] : []),
      }),
    );

  disk
    .command('delete')
    .description('Delete a detached disk with its data; restore points keep what they have of it.')
    .addArgument(diskArgument())
    .action((name: string, _options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'disk.delete', { name }),
        render: async (result) => (await import('../render/reports.js')).deletedReport(result.deleted),
      }),
    );
}
