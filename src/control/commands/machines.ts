/** Virtual machines: create, list, show, update, delete. */

import { StillpointError } from '../../store/errors.js';
import { progressOf, type CommandContext } from '../context.js';
import type {
  ExternalDiskRequest,
  ImageFormat,
  ManagedDiskRequest,
  VirtualMachine,
  VirtualMachineChange,
} from '../../index.js';
import { withStore, withStoreToLook } from '../opening.js';

/** An external disk as a caller names it; the path is absolute. */
export interface ExternalDisk {
  readonly role: string;
  readonly path: string;
}

export interface CreateMachineRequest {
  readonly name: string;
  readonly disks: readonly ExternalDisk[];
  /** Import the disks into managed ones, instead of leaving them to who writes them. */
  readonly isManaged: boolean;
  /** Of the images that are imported; null: of each by its first bytes. */
  readonly format: ImageFormat | null;
  /** Null: the library's default. */
  readonly sectorBytes: 512 | 4096 | null;
  readonly resourceGroup: string | null;
  readonly subscription: string | null;
  /** Any JSON value; undefined when none was given. */
  readonly configuration?: unknown;
}

export interface UpdateMachineRequest {
  readonly name: string;
  /** Disks to add; where the machine has the role already, its new path. */
  readonly disks: readonly ExternalDisk[];
  readonly sectorBytes: 512 | 4096 | null;
  /** Roles of disks that the machine no longer has. */
  readonly removeDisks: readonly string[];
  readonly configuration?: unknown;
}

export interface MachineList {
  readonly value: readonly VirtualMachine[];
  readonly readOnly: boolean;
}

export type MachineView = VirtualMachine & { readonly readOnly: boolean };

export interface DeletedResult {
  /** What was deleted: the machine's name, or references of points. */
  readonly deleted: readonly string[];
}

function newDisk(disk: ExternalDisk, sectorBytes: 512 | 4096 | null): ExternalDiskRequest {
  return { role: disk.role, external: disk.path, sectorBytes: sectorBytes ?? undefined };
}

function importedDisk(
  disk: ExternalDisk,
  { format, sectorBytes }: Pick<CreateMachineRequest, 'format' | 'sectorBytes'>,
): ManagedDiskRequest {
  const { role, path } = disk;
  return { role, import: path, format: format ?? undefined, sectorBytes: sectorBytes ?? undefined };
}

function refuseRepeatedRoles(disks: readonly ExternalDisk[]): void {
  const seen = new Set<string>();
  for (const { role } of disks) {
    if (seen.has(role.toLowerCase())) {
      throw new StillpointError('ARGUMENT_INVALID', `the role ${role} is given twice; each disk needs its own`, {
        role,
      });
    }
    seen.add(role.toLowerCase());
  }
}

/** Creates a machine with external disks, or with managed ones that are imported. */
export async function createMachine(context: CommandContext, request: CreateMachineRequest): Promise<VirtualMachine> {
  refuseRepeatedRoles(request.disks);
  const { isManaged, sectorBytes } = request;
  return withStore(context, (store) =>
    store.createVirtualMachine(
      {
        name: request.name,
        disks: request.disks.map((disk) => (isManaged ? importedDisk(disk, request) : newDisk(disk, sectorBytes))),
        resourceGroup: request.resourceGroup ?? undefined,
        subscription: request.subscription ?? undefined,
        ...(request.configuration === undefined ? {} : { configuration: request.configuration }),
      },
      isManaged ? { signal: context.signal, onProgress: progressOf(context, `import ${request.name}`) } : undefined,
    ),
  );
}

/** Lists the machines by name. */
export async function listMachines(context: CommandContext): Promise<MachineList> {
  return withStoreToLook(context, async (store) => ({
    value: await store.virtualMachines(),
    readOnly: store.readOnly,
  }));
}

/** One machine. Throws `MACHINE_NOT_FOUND`. */
export async function showMachine(context: CommandContext, request: { readonly name: string }): Promise<MachineView> {
  return withStoreToLook(context, async (store) => ({
    ...(await store.virtualMachine(request.name)),
    readOnly: store.readOnly,
  }));
}

/** Splits named disks into those that are new, also in the role of one that goes, and those whose path changes. */
function changeOf(machine: VirtualMachine, request: UpdateMachineRequest): VirtualMachineChange {
  const gone = new Set(request.removeDisks.map((role) => role.toLowerCase()));
  const roles = new Set(machine.disks.map((disk) => disk.role.toLowerCase()).filter((role) => !gone.has(role)));
  const added = request.disks.filter((disk) => !roles.has(disk.role.toLowerCase()));
  const moved = request.disks.filter((disk) => roles.has(disk.role.toLowerCase()));
  return {
    addDisks: added.map((disk) => newDisk(disk, request.sectorBytes)),
    paths: Object.fromEntries(moved.map((disk) => [disk.role, disk.path])),
    removeDisks: request.removeDisks,
    ...(request.configuration === undefined ? {} : { configuration: request.configuration }),
  };
}

/** Changes a machine's disks, paths or configuration; points that exist keep what they had. */
export async function updateMachine(context: CommandContext, request: UpdateMachineRequest): Promise<VirtualMachine> {
  refuseRepeatedRoles(request.disks);
  if (request.disks.length + request.removeDisks.length === 0 && request.configuration === undefined) {
    throw new StillpointError('ARGUMENT_INVALID', `nothing to change in ${request.name}`, { machine: request.name });
  }
  return withStore(context, async (store) => {
    const machine = await store.virtualMachine(request.name);
    return store.updateVirtualMachine(machine.name, changeOf(machine, request));
  });
}

/** Forgets a machine without restore points. Throws `MACHINE_NOT_EMPTY`. */
export async function deleteMachine(
  context: CommandContext,
  request: { readonly name: string },
): Promise<DeletedResult> {
  return withStore(context, async (store) => {
    const { name } = await store.virtualMachine(request.name);
    await store.deleteVirtualMachine(name);
    return { deleted: [name] };
  });
}
