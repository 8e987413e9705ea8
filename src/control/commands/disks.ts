/** Managed disks: create, import, clone, grow, limit, attach, detach, list, delete. */

import { progressOf, type CommandContext } from '../context.js';
import type { DiskInfo, DiskLimits, ImageFormat } from '../../index.js';
import { withStore, withStoreToLook } from '../opening.js';
import type { DeletedResult } from './machines.js';

export interface DiskList {
  readonly value: readonly DiskInfo[];
  readonly readOnly: boolean;
}

/** Creates a detached disk of zeros. */
export async function createDisk(
  context: CommandContext,
  request: {
    readonly name: string;
    readonly sizeBytes: number;
    readonly sectorBytes: 512 | 4096 | null;
    readonly limits: DiskLimits;
  },
): Promise<DiskInfo> {
  const { name, sizeBytes, sectorBytes, limits } = request;
  return withStore(context, async (store) => {
    return (await store.createDisk({ name, sizeBytes, sectorBytes: sectorBytes ?? undefined, limits })).info;
  });
}

/** Creates a detached disk with the content of an image; the path is absolute. */
export async function importDisk(
  context: CommandContext,
  request: {
    readonly name: string;
    readonly path: string;
    /** Null: by its first bytes. */
    readonly format: ImageFormat | null;
    readonly sectorBytes: 512 | 4096 | null;
  },
): Promise<DiskInfo> {
  const { name, path } = request;
  const [format, sectorBytes] = [request.format ?? undefined, request.sectorBytes ?? undefined];
  return withStore(context, async (store) => {
    const { signal } = context;
    const onProgress = progressOf(context, `import ${name}`);
    return (await store.importDisk({ name, path, format, sectorBytes, signal, onProgress })).info;
  });
}

/** Creates a detached disk of a point's disk, `POINT/DISK`. */
export async function cloneDisk(
  context: CommandContext,
  request: { readonly name: string; readonly pointDisk: string },
): Promise<DiskInfo> {
  return withStore(context, async (store) => (await store.cloneDisk(request.name, request.pointDisk)).info);
}

/** Makes a disk larger. */
export async function growDisk(
  context: CommandContext,
  request: { readonly name: string; readonly sizeBytes: number },
): Promise<DiskInfo> {
  return withStore(context, async (store) => (await store.disk(request.name)).grow(request.sizeBytes));
}

/** Attaches a disk; `role` null for the one that it has, `limits` null for those that it has. */
export async function attachDisk(
  context: CommandContext,
  request: {
    readonly machine: string;
    readonly name: string;
    readonly role: string | null;
    readonly limits: DiskLimits | null;
  },
): Promise<DiskInfo> {
  const { machine, name, role, limits } = request;
  return withStore(context, async (store) =>
    (await store.disk(name)).attach(machine, role ?? undefined, limits === null ? {} : { limits }),
  );
}

/** Limits what a disk may have a second. */
export async function limitDisk(
  context: CommandContext,
  request: { readonly name: string; readonly limits: DiskLimits },
): Promise<DiskInfo> {
  return withStore(context, async (store) => (await store.disk(request.name)).setLimits(request.limits));
}

/** Detaches a disk. */
export async function detachDisk(context: CommandContext, request: { readonly name: string }): Promise<DiskInfo> {
  return withStore(context, async (store) => (await store.disk(request.name)).detach());
}

/** Lists the managed disks by name. */
export async function listDisks(context: CommandContext): Promise<DiskList> {
  return withStoreToLook(context, async (store) => ({ value: await store.disks(), readOnly: store.readOnly }));
}

/** Deletes a detached disk. */
export async function deleteDisk(context: CommandContext, request: { readonly name: string }): Promise<DeletedResult> {
  return withStore(context, async (store) => {
    const disk = await store.disk(request.name);
    await disk.delete();
    return { deleted: [disk.name] };
  });
}
