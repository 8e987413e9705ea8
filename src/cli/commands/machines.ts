/** `vm create`, `vm list`, `vm show`, `vm update`, `vm delete`. */

import { Argument, Option, type Command } from 'commander';
import { absoluteDisks, formatOption, gatherDisk, gatherWord, parseSectorSize } from '../arguments.js';
import { call } from '../../control/call.js';
import { completes } from '../completion/kinds.js';
import { readConfiguration } from '../configuration-file.js';
import type { CommandContext } from '../../control/context.js';
import type { Invoke } from '../invocation.js';
import type { ExternalDisk } from '../../control/commands/machines.js';
import type { ImageFormat } from '../../index.js';

interface CreateOptions {
  readonly external?: ExternalDisk[];
  readonly disk?: ExternalDisk[];
  readonly format?: ImageFormat;
  readonly sector?: 512 | 4096;
  readonly config?: string;
  readonly resourceGroup?: string;
  readonly subscription?: string;
}

interface UpdateOptions {
  readonly external?: ExternalDisk[];
  readonly removeDisk?: string[];
  readonly sector?: 512 | 4096;
  readonly config?: string;
}

/** The argument that names a machine that exists. */
export function machineArgument(): Argument {
  return completes(new Argument('<vm>', 'name of the machine'), 'machine');
}

function externalOption(description: string): Option {
  return completes(new Option('--external <role=path>', description).argParser(gatherDisk), 'role-and-file');
}

function sectorOption(description: string): Option {
  const option = new Option('--sector <bytes>', description);
  option.argChoices = ['512', '4096'];
  return option.argParser(parseSectorSize);
}

const configOption = (): Option =>
  completes(new Option('--config <file>', 'JSON file with the configuration that each point keeps'), 'file');

/** What is to be said about the images of disks that were named; they are captured only later. */
async function imageNotes(disks: readonly ExternalDisk[], context: CommandContext): Promise<string[]> {
  const notes: string[] = [];
  for (const { path } of disks) {
    const kind = await context.library.imageKind(path);
    if (kind === 'missing') notes.push(`${path} does not exist yet; a capture fails until it does`);
    else if (kind !== 'raw' && kind !== 'unknown') {
      notes.push(
        `${path} is a ${kind} image; it is captured as the file that it is, and a diff has offsets in that file. ` +
          `For the disk inside: qemu-img convert -O raw`,
      );
    }
  }
  return notes;
}

/** Adds `vm` and the commands below it. */
export function machineCommands(program: Command, invoke: Invoke): void {
  const vm = program
    .command('vm')
    .description('Create, list, show, update and delete virtual machines.')
    .usage('<command>')
    .helpCommand(false);

  vm.command('create')
    .description('Create a machine with the disks that are captured together.')
    .argument('<vm>', 'name of the new machine')
    .addOption(externalOption('a disk that someone else writes: its role and the image or device; once for each'))
    .addOption(
      completes(
        new Option('--disk <role=path>', 'a managed disk: its role and the image or device to import')
          .argParser(gatherDisk)
          .conflicts('external'),
        'role-and-file',
      ),
    )
    .addOption(
      formatOption('format of imported images (default: of files by their first bytes, of devices raw)').conflicts(
        'external',
      ),
    )
    .addOption(sectorOption('sector size of the disks: 512 or 4096 (default: 512)'))
    .addOption(configOption())
    .option('--resource-group <name>', 'resource group (default: default)')
    .option('--subscription <id>', 'subscription (default: the zero GUID)')
    .addHelpText(
      'after',
      '\nExamples: stillpoint vm create web1 --external os=/images/os.raw --external data=/dev/vg0/data' +
        '\n          stillpoint vm create web2 --disk os=debian.raw',
    )
    .action((name: string, options: CreateOptions, command: Command) => {
      const named = options.external ?? options.disk;
      if (named === undefined) {
        command.error("error: required option '--external <role=path>' or '--disk <role=path>' not specified");
      }
      const disks = absoluteDisks(named, invoke.workingDirectory);
      return invoke(command, {
        run: async (context) =>
          call(context, 'vm.create', {
            name,
            disks,
            isManaged: options.disk !== undefined,
            format: options.format ?? null,
            sectorBytes: options.sector ?? null,
            resourceGroup: options.resourceGroup ?? null,
            subscription: options.subscription ?? null,
            ...(await readConfiguration(options.config, invoke.workingDirectory)),
          }),
        render: async (machine) => (await import('../render/machines.js')).machineSentence('created', machine),
        notes: (_machine, context) => (options.disk === undefined ? imageNotes(disks, context) : []),
      });
    });

  vm.command('list')
    .description('List the machines.')
    .action((_options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'vm.list', {}),
        render: async ({ value }, style) =>
          value.length === 0 ? '' : (await import('../render/machines.js')).machineTable(value, style),
        notes: ({ value }) => (value.length === 0 ? ['the store has no machines'] : []),
      }),
    );

  vm.command('show')
    .description('Show a machine and its disks.')
    .addArgument(machineArgument())
    .action((name: string, _options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'vm.show', { name }),
        render: async (result, style) => (await import('../render/machines.js')).machineDetail(result, style),
      }),
    );

  vm.command('update')
    .description('Change disks, paths or configuration; points that exist stay as they are.')
    .addArgument(machineArgument())
    .addOption(externalOption('a disk to add, or the new path of the one with that role'))
    .addOption(
      completes(
        new Option('--remove-disk <role>', 'a disk that the machine no longer has').argParser(gatherWord),
        'role',
      ),
    )
    .addOption(sectorOption('sector size of added disks: 512 or 4096 (default: 512)'))
    .addOption(configOption())
    .action((name: string, options: UpdateOptions, command: Command) =>
      invoke(command, {
        run: async (context) =>
          call(context, 'vm.update', {
            name,
            disks: absoluteDisks(options.external ?? [], invoke.workingDirectory),
            sectorBytes: options.sector ?? null,
            removeDisks: options.removeDisk ?? [],
            ...(await readConfiguration(options.config, invoke.workingDirectory)),
          }),
        render: async (machine) => (await import('../render/machines.js')).machineSentence('updated', machine),
        notes: (_machine, context) =>
          imageNotes(absoluteDisks(options.external ?? [], invoke.workingDirectory), context),
      }),
    );

  vm.command('delete')
    .description('Forget a machine that has no restore points; its images and managed disks stay.')
    .addArgument(machineArgument())
    .action((name: string, _options: object, command: Command) =>
      invoke(command, {
        run: (context) => call(context, 'vm.delete', { name }),
        render: async (result) => (await import('../render/reports.js')).deletedReport(result.deleted),
      }),
    );
}
