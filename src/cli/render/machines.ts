/** Virtual machines as people read them. */

import type { VirtualMachine } from '../../index.js';
import { fields, table } from './layout.js';
import { bold, type Style } from './style.js';
import { formatChosenBytes, formatCountOf, formatTime } from './units.js';

/** One line for each machine. */
export async function machineTable(machines: readonly VirtualMachine[], style: Style): Promise<string> {
  const rows = machines.map((machine) => [
    machine.name,
    machine.disks.map((disk) => disk.role).join(', '),
    machine.resourceGroup,
    formatTime(machine.createdMs, style),
  ]);
  return table(style, [{ title: 'NAME' }, { title: 'DISKS' }, { title: 'GROUP' }, { title: 'CREATED' }], rows);
}

/** One machine with its disks. */
export async function machineDetail(machine: VirtualMachine, style: Style): Promise<string> {
  const disks = await table(
    style,
    [{ title: 'ROLE' }, { title: 'DISK' }, { title: 'SECTOR', align: 'right' }, { title: 'SOURCE' }],
    machine.disks.map((disk) => [
      disk.role,
      disk.name,
      `${disk.sectorBytes} B`,
      disk.sizeBytes === undefined ? disk.source : `managed, ${formatChosenBytes(disk.sizeBytes)}`,
    ]),
    '  ',
  );
  const facts = fields(style, [
    ['id', machine.id],
    ['created', formatTime(machine.createdMs, style)],
    ['resource group', machine.resourceGroup],
    ['subscription', machine.subscription],
    ['configuration', configurationText(machine.configuration)],
  ]);
  return `${bold(style, machine.name)}\n${facts}\n\n${disks}`;
}

/** A machine's configuration on one line; null when it has none. */
export function configurationText(configuration: unknown): string | null {
  return configuration === null || configuration === undefined ? null : JSON.stringify(configuration);
}

/** What a change of a machine is answered with. */
export function machineSentence(verb: string, machine: VirtualMachine): string {
  const roles = machine.disks.map((disk) => disk.role).join(', ') || 'none';
  return `${verb} ${machine.name} with ${formatCountOf(machine.disks.length, 'disk', 'disks')}: ${roles}`;
}
