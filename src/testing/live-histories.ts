/** Arbitrary histories of managed disks, for fast-check. */

import type * as FastCheck from 'fast-check';
import type { Arbitrary } from 'fast-check';

import type { Content } from './content.js';

/** One step. Numbers choose among what is there when the step is taken, so any part of a history is one. */
export type LiveAction =
  | {
      readonly do: 'write';
      readonly disk: number;
      readonly sector: number;
      readonly sectors: number;
      readonly content: Content;
      readonly fua: boolean;
    }
  | { readonly do: 'zero' | 'trim'; readonly disk: number; readonly sector: number; readonly sectors: number }
  | { readonly do: 'flush'; readonly disk: number }
  | { readonly do: 'grow'; readonly disk: number; readonly sectors: number }
  | { readonly do: 'capture'; readonly exclude: number | null }
  /** Waits for the copy of a point. */
  | { readonly do: 'copied'; readonly point: number }
  | { readonly do: 'clone'; readonly point: number; readonly disk: number }
  /** Puts the disks of a point back, as far as the machine has them. */
  | { readonly do: 'reset'; readonly point: number }
  /** Makes a disk of what one was after an earlier write. */
  | { readonly do: 'moment'; readonly write: number; readonly disk: number }
  | { readonly do: 'attach' | 'detach' | 'deleteDisk'; readonly disk: number }
  | { readonly do: 'deletePoint'; readonly point: number }
  | { readonly do: 'collect' | 'verify' | 'reopen' };

/** A history of one machine with managed disks. */
export interface LiveHistory {
  /** Sectors of 512 bytes of each disk that the machine has at first. */
  readonly disks: readonly number[];
  readonly actions: readonly LiveAction[];
}

/** Bounds of histories. */
export interface LiveHistoryOptions {
  /** Disks of the machine at first; 2 when left out. */
  readonly disksMax?: number;
  /** Sectors of 512 bytes of a disk at most; 200 when left out. */
  readonly sectorsMax?: number;
  /** Steps at most; 25 when left out. */
  readonly actionsMax?: number;
  /** Chunk size of the store, at whose borders most things happen; 16,384 when left out. */
  readonly chunkBytes?: number;
}

/** Arbitrary histories of managed disks. They favour chunk borders, last chunks, and points whose copy runs. */
export function liveHistories(fc: typeof FastCheck, options: LiveHistoryOptions = {}): Arbitrary<LiveHistory> {
  const { disksMax = 2, sectorsMax = 200, actionsMax = 25, chunkBytes = 16_384 } = options;
  const chunk = chunkBytes / 512;
  const choice = fc.nat({ max: 31 });
  const border = fc.tuple(fc.nat({ max: Math.floor(sectorsMax / chunk) }), fc.integer({ min: -1, max: 1 }));
  const sector = fc.oneof(
    border.map(([index, beside]) => Math.max(0, index * chunk + beside)),
    fc.nat({ max: sectorsMax }),
  );
  const sectors = fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 2 * chunk }));
  const size = fc.oneof(fc.constantFrom(1, chunk - 1, chunk, chunk + 1), fc.integer({ min: 1, max: sectorsMax }));
  const content: Arbitrary<Content> = fc.oneof(
    fc.record({ kind: fc.constantFrom('random', 'text', 'frame', 'dictionary'), seed: fc.nat({ max: 99 }) }),
    fc.record({ kind: fc.constant('fill'), value: fc.constantFrom(0, 255, 83) }),
  );
  const write = fc.record({
    do: fc.constant('write'),
    disk: choice,
    sector,
    sectors,
    content,
    fua: fc.boolean(),
  });
  const action: Arbitrary<LiveAction> = fc.oneof(
    { weight: 8, arbitrary: write },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('zero', 'trim'), disk: choice, sector, sectors }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('flush'), disk: choice }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('grow'), disk: choice, sectors }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant('capture'), exclude: fc.option(choice, { freq: 4 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('copied', 'reset', 'deletePoint'), point: choice }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('clone'), point: choice, disk: choice }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('moment'), write: choice, disk: choice }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constantFrom('attach', 'detach', 'deleteDisk'), disk: choice }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('collect', 'verify', 'reopen') }) },
  );
  return fc.record({
    disks: fc.array(size, { minLength: 1, maxLength: disksMax }),
    actions: fc.array(action, { maxLength: actionsMax, size: 'max' }),
  });
}
