/** What machines and points take, in the caller's words. */

import type { CatalogView } from '../catalog/view.js';
import type { MachineRecord } from '../catalog/record.js';
import type * as engine from '../native/engine.js';

/** What a restore point takes. */
export interface PointStatistics {
  /** `VM/COLLECTION/POINT`. */
  readonly point: string;
  /** Name of the machine. */
  readonly machine: string;
  readonly createdMs: number;
  /** Sizes of its disks. */
  readonly logicalBytes: number;
  /** What of that is data: neither hole nor a chunk of one value. */
  readonly dataBytes: number;
  /** The frames that its capture added to the packs, their trailer entries left out. */
  readonly addedBytes: number;
  /** Plain bytes of the chunks that only this point needs. */
  readonly uniqueBytes: number;
  /** What only this point needs, in packs. Deleting the point makes that garbage, which `collect` gives back. */
  readonly freedBytes: number;
}

/** What the restore points of a machine take together. */
export interface MachineStatistics {
  /** Name of the machine. */
  readonly machine: string;
  /** How many it has. */
  readonly points: number;
  /** Sizes of all disks of all points. */
  readonly logicalBytes: number;
  /** What of that is data: neither hole nor a chunk of one value. */
  readonly dataBytes: number;
  /** Plain bytes of the different chunks that its points hold. */
  readonly distinctBytes: number;
  /** What all that its points need takes in packs, shared with other machines or not. */
  readonly storedBytes: number;
  /** Plain bytes of the chunks that only this machine needs. */
  readonly uniqueBytes: number;
  /** What only this machine needs, in packs: deleting all its points makes that garbage. */
  readonly freedBytes: number;
}

/** What a whole store takes. */
export interface StoreTotals {
  readonly logicalBytes: number;
  readonly dataBytes: number;
  readonly distinctBytes: number;
  /** What all that points need takes in packs. */
  readonly storedBytes: number;
  /** What takes space in packs and no point needs. `collect` gives it back pack by pack, once enough of one is garbage. */
  readonly garbageBytes: number;
  /** Bytes of the packs: stored, garbage, and some 112 bytes for each pack itself. */
  readonly packBytes: number;
  readonly indexBytes: number;
  readonly manifestBytes: number;
  /** Different chunks that points need. */
  readonly chunks: number;
  /** Different nodes of block maps that points need. */
  readonly nodes: number;
  /** Chunks and nodes that points need and no pack holds: `verify` says whom that hits. */
  readonly missing: number;
  /** Data bytes to distinct bytes; null in a store without data. */
  readonly deduplication: number | null;
  /** Distinct bytes to stored bytes, block maps and headers included; null in a store without data. */
  readonly compression: number | null;
}

/** What a store, its machines and its points take. */
export interface StoreStatistics {
  readonly store: StoreTotals;
  /** By name; of those asked for. */
  readonly machines: readonly MachineStatistics[];
  /** By machine, from the oldest to the newest; of those asked for. Points that cannot be read are left out. */
  readonly points: readonly PointStatistics[];
}

/** The engine's figures under the names of these machines, which are in the order in which it was asked. */
export function presentStatistics(
  view: CatalogView,
  asked: readonly MachineRecord[],
  shown: ReadonlySet<MachineRecord>,
  all: engine.Statistics,
  usage: engine.Usage,
): StoreStatistics {
  const byId = new Map(all.points.map((point) => [point.pointId, point]));
  const machines = asked.flatMap((record, index): MachineStatistics[] => {
    const counted = all.machines[index];
    if (counted === undefined || !shown.has(record)) return [];
    const { pointCount, ...bytes } = counted;
    return [{ machine: record.name, points: pointCount, ...bytes }];
  });
  const points = [...shown].flatMap((machine) =>
    view.pointsOf(machine.id).flatMap((record): PointStatistics[] => {
      const counted = byId.get(record.id);
      if (counted === undefined) return [];
      const { logicalBytes, dataBytes, uniqueBytes, freedBytes } = counted;
      return [
        {
          point: view.referenceOf(record),
          machine: machine.name,
          createdMs: record.createdMs,
          logicalBytes,
          dataBytes,
          addedBytes: record.captured?.bytesStored ?? 0,
          uniqueBytes,
          freedBytes,
        },
      ];
    }),
  );
  return { store: totals(all, usage), machines, points };
}

function totals(all: engine.Statistics, usage: engine.Usage): StoreTotals {
  const { logicalBytes, dataBytes, distinctBytes, storedBytes, garbageBytes } = all;
  const { packBytes, indexBytes, manifestBytes } = usage;
  return {
    logicalBytes,
    dataBytes,
    distinctBytes,
    storedBytes,
    garbageBytes,
    packBytes,
    indexBytes,
    manifestBytes,
    chunks: all.chunkCount,
    nodes: all.nodeCount,
    missing: all.missingCount,
    deduplication: distinctBytes === 0 ? null : dataBytes / distinctBytes,
    compression: storedBytes === 0 ? null : distinctBytes / storedBytes,
  };
}
