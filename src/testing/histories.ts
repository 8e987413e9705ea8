/** Arbitrary histories of a machine's disks, for fast-check. */

import type * as FastCheck from 'fast-check';
import type { Arbitrary } from 'fast-check';

import type { Content } from './content.js';

/** One step of a history. Numbers choose among what is there when the step is taken, so any part of a history is one. */
export type Action =
  | {
      readonly do: 'write';
      readonly disk: number;
      readonly sector: number;
      readonly sectors: number;
      readonly content: Content;
    }
  | { readonly do: 'copy'; readonly disk: number; readonly from: number; readonly to: number; readonly sectors: number }
  | { readonly do: 'punch'; readonly disk: number; readonly sector: number; readonly sectors: number }
  | { readonly do: 'resize'; readonly disk: number; readonly sectors: number }
  | { readonly do: 'capture'; readonly exclude: number | null }
  | {
      readonly do: 'diff';
      readonly before: number;
      readonly after: number;
      readonly disk: number;
      readonly granularity: number | null;
    }
  | {
      readonly do: 'read';
      readonly point: number;
      readonly disk: number;
      readonly sector: number;
      readonly length: number;
    }
  | { readonly do: 'restore'; readonly point: number; readonly disk: number; readonly overwrite: boolean }
  | { readonly do: 'delete'; readonly point: number }
  /** `collectBeside` runs beside the steps after it, until the next collection, reopening or end. */
  | { readonly do: 'collect' | 'collectBeside' | 'verify' | 'reopen' };

/** A history: how large the disks are to begin with, and what happens to them. */
export interface History {
  /** Sectors of 512 bytes of each disk. */
  readonly disks: readonly number[];
  readonly actions: readonly Action[];
}

/** Bounds of histories. */
export interface HistoryOptions {
  /** Disks of the machine at most; 2 when left out. */
  readonly disksMax?: number;
  /** Sectors of 512 bytes of a disk at most; 1,300 (40 chunks of 16 KiB and a bit) when left out. */
  readonly sectorsMax?: number;
  /** Steps at most; 25 when left out. */
  readonly actionsMax?: number;
  /** Chunk size of the store, at whose borders most things happen; 16,384 when left out. */
  readonly chunkBytes?: number;
}

/**
 * Arbitrary histories. They favour chunk borders, last chunks, and content that looks like the store's own files.
 *
 * Example: `fc.assert(fc.asyncProperty(diskHistories(fc), async (history) => { ... }))`. fast-check is handed in, so that this package does not
 * need it otherwise.
 */
export function diskHistories(fc: typeof FastCheck, options: HistoryOptions = {}): Arbitrary<History> {
  const { disksMax = 2, sectorsMax = 1300, actionsMax = 25, chunkBytes = 16_384 } = options;
  const chunk = chunkBytes / 512;
  const choice = fc.nat({ max: 31 });
  // Sectors around the borders of chunks, and anywhere.
  const border = fc.tuple(fc.nat({ max: Math.floor(sectorsMax / chunk) }), fc.integer({ min: -1, max: 1 }));
  const sector = fc.oneof(
    border.map(([index, beside]) => Math.max(0, index * chunk + beside)),
    fc.nat({ max: sectorsMax }),
  );
  const sectors = fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: Math.max(200, 2 * chunk) }));
  const size = fc.oneof(
    fc.constantFrom(1, chunk - 1, chunk, chunk + 1, 2 * chunk),
    fc.integer({ min: 1, max: sectorsMax }),
  );
  const seed = fc.nat({ max: 99 });
  const content: Arbitrary<Content> = fc.oneof(
    fc.record({ kind: fc.constantFrom('random', 'text', 'frame', 'dictionary'), seed }),
    fc.record({ kind: fc.constant('fill'), value: fc.constantFrom(0, 0, 255, 83) }),
  );
  const capture = fc.record({ do: fc.constant('capture'), exclude: fc.option(choice, { freq: 4 }) });
  const write = fc.record({ do: fc.constant('write'), disk: choice, sector, sectors, content });
  const granularity = fc.constantFrom(null, 512, 4096);
  const action: Arbitrary<Action> = fc.oneof(
    { weight: 6, arbitrary: write },
    { weight: 5, arbitrary: capture },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('copy'), disk: choice, from: sector, to: sector, sectors }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('punch'), disk: choice, sector, sectors }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('resize'), disk: choice, sectors: size }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('diff'), before: choice, after: choice, disk: choice, granularity }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('read'),
        point: choice,
        disk: choice,
        sector,
        length: fc.integer({ min: 1, max: 70_000 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('restore'), point: choice, disk: choice, overwrite: fc.boolean() }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('delete'), point: choice }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('collect', 'collectBeside', 'verify', 'reopen') }) },
  );
  return fc.record({
    disks: fc.array(size, { minLength: 1, maxLength: disksMax }),
    actions: fc.array(action, { maxLength: actionsMax, size: 'max' }),
  });
}

/** A history as a script, a line a step. */
export function describeHistory(history: History): string {
  const lines = history.actions.map((action) => JSON.stringify(action));
  return [`disks of ${history.disks.join(' and ')} sectors`, ...lines].join('\n');
}
