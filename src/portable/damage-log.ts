/** Collects problems during a verification, and which byte ranges of which disks each of them hits. */

import type { ContentId } from './brands.js';
import { hex } from './bytes.js';
import type { ByteRange, PortableHit, PortableProblem } from './problem.js';

/** The disk restore point that is being looked at. */
export interface DiskReference {
  readonly pointId: string;
  readonly diskId: string;
}

interface Draft {
  readonly problem: PortableProblem;
  readonly hits: { readonly disk: DiskReference; readonly ranges: ByteRange[] }[];
}

export class DamageLog {
  readonly #drafts: Draft[] = [];
  /** Problems of frames, by the id that the frame should have. */
  readonly #byContent = new Map<string, Draft[]>();
  /** Problems that stand for many finds, by a key of the caller's. */
  readonly #byKey = new Map<string, Draft>();

  add(problem: PortableProblem): void {
    this.#drafts.push({ problem, hits: [] });
  }

  /** Adds a problem of a frame. */
  addOfContent(id: ContentId, problem: PortableProblem): void {
    const draft = { problem, hits: [] };
    this.#drafts.push(draft);
    this.#byContent.set(hex(id), [...(this.#byContent.get(hex(id)) ?? []), draft]);
  }

  /** Whether a frame of this id is known to be bad. Another one may be sound. */
  hasContent(id: ContentId): boolean {
    return this.#byContent.has(hex(id));
  }

  /** Notes that a range of a disk cannot be read because no frame of this id is sound. */
  hitContent(id: ContentId, disk: DiskReference, range: ByteRange): void {
    for (const draft of this.#byContent.get(hex(id)) ?? []) addHit(draft, disk, range);
  }

  /** Notes a hit of the problem with this key, which is made on the first one. */
  hitKeyed(key: string, make: () => PortableProblem, disk: DiskReference, range: ByteRange): void {
    let draft = this.#byKey.get(key);
    if (draft === undefined) {
      draft = { problem: make(), hits: [] };
      this.#byKey.set(key, draft);
      this.#drafts.push(draft);
    }
    addHit(draft, disk, range);
  }

  /** All problems in the order in which they were found, with their hits. */
  problems(): readonly PortableProblem[] {
    return this.#drafts.map(({ problem, hits }) => ({
      ...problem,
      hits: hits.map(({ disk, ranges }): PortableHit => ({ ...disk, ranges })),
    }));
  }
}

/** Ranges of a disk come in ascending order, so a neighbour can only be the last one. */
function addHit(draft: Draft, disk: DiskReference, range: ByteRange): void {
  let hit = draft.hits.at(-1);
  if (hit?.disk.pointId !== disk.pointId || hit.disk.diskId !== disk.diskId) {
    hit = { disk, ranges: [] };
    draft.hits.push(hit);
  }
  const last = hit.ranges.at(-1);
  if (last !== undefined && last.offset + last.length === range.offset) {
    hit.ranges[hit.ranges.length - 1] = { offset: last.offset, length: last.length + range.length };
  } else {
    hit.ranges.push(range);
  }
}
