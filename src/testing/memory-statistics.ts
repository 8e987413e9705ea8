/** Statistics of an engine that shares nothing: every point takes its disks' sizes. */

import type { MachineStatistics, Statistics } from '../native/engine.js';

/** The figures of points with these sizes. */
export function statisticsOf(
  sizes: ReadonlyMap<string, number>,
  machines: readonly (readonly string[])[],
  garbageBytes: number,
): Statistics {
  const sum = (ids: Iterable<string>): number => [...ids].reduce((all, id) => all + (sizes.get(id) ?? 0), 0);
  const known = new Set(machines.flat());
  const others = [...sizes.keys()].filter((id) => !known.has(id));
  const bytes = sum(sizes.keys());
  return {
    points: [...sizes].map(([pointId, size]) => {
      return { pointId, logicalBytes: size, dataBytes: size, uniqueBytes: size, freedBytes: size };
    }),
    machines: [...machines, others].map((ids): MachineStatistics => {
      const size = sum(ids);
      return {
        pointCount: ids.filter((id) => sizes.has(id)).length,
        logicalBytes: size,
        dataBytes: size,
        distinctBytes: size,
        storedBytes: size,
        uniqueBytes: size,
        freedBytes: size,
      };
    }),
    logicalBytes: bytes,
    dataBytes: bytes,
    distinctBytes: bytes,
    storedBytes: bytes,
    garbageBytes,
    chunkCount: 0,
    nodeCount: 0,
    missingCount: 0,
  };
}
