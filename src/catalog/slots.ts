/**
 * The two slots: where the newest seal stands outside the database. docs/catalog-format.md, section 4.
 *
 * A new seal overwrites the slot that does not hold the newest one, so a torn write never costs the newest. A slot has
 * the type `Seal` only once its checksum, its zero bytes and its store were proven.
 */

import { StillpointError } from '../store/errors.js';
import { toStoreId, type StoreId } from '../store/units.js';
import type { Checksum } from './checksum.js';
import { replaceDurably, type CatalogFile, type CatalogFiles } from './files.js';
import { catalogVersion, type Seal } from './seal.js';

/** Names of the slots in the store's directory. */
export const slotNames = ['catalog.slot-a', 'catalog.slot-b'] as const;
const slotBytes = 64;
const magic = 'STILLSLT';

/** A slot as it was found: its seal, or why it has none. */
export type SlotContent =
  { readonly seal: Seal } | { readonly problem: 'missing' | 'not valid' } | { readonly newerVersion: number };

/** Both slots as they were found. */
export interface SlotsFound {
  readonly contents: readonly [SlotContent, SlotContent];
  /** The newest valid seal, null without any. */
  readonly newest: Seal | null;
}

/** A seal as the bytes of a slot. */
export function encodeSlot(checksum: Checksum, storeId: StoreId, seal: Seal): Uint8Array {
  const bytes = Buffer.alloc(slotBytes);
  bytes.write(magic, 0, 'ascii');
  bytes.writeUInt16LE(catalogVersion, 8);
  bytes.write(storeId, 16, 'hex');
  bytes.writeBigUInt64LE(seal.sequence, 32);
  bytes.writeBigUInt64LE(seal.count, 40);
  bytes.writeBigUInt64LE(seal.digest, 48);
  bytes.writeBigUInt64LE(checksum(bytes.subarray(0, 56)), 56);
  return bytes;
}

/** What the bytes of a slot say. */
export function decodeSlot(checksum: Checksum, storeId: StoreId, found: Uint8Array | null): SlotContent {
  if (found === null) return { problem: 'missing' };
  const bytes = Buffer.from(found.buffer, found.byteOffset, found.length);
  const isWhole =
    bytes.length === slotBytes &&
    bytes.toString('latin1', 0, 8) === magic &&
    bytes.readBigUInt64LE(56) === checksum(bytes.subarray(0, 56));
  if (!isWhole) return { problem: 'not valid' };
  const version = bytes.readUInt16LE(8);
  if (version > catalogVersion) return { newerVersion: version };
  const isOurs =
    version === catalogVersion &&
    bytes.subarray(10, 16).every((byte) => byte === 0) &&
    toStoreId(bytes.toString('hex', 16, 32)) === storeId;
  if (!isOurs) return { problem: 'not valid' };
  return {
    seal: {
      sequence: bytes.readBigUInt64LE(32),
      count: bytes.readBigUInt64LE(40),
      digest: bytes.readBigUInt64LE(48),
    },
  };
}

/** Reads both slots. Errors: `STORE_NEWER_FORMAT`. */
export async function readSlots(files: CatalogFiles, checksum: Checksum, storeId: StoreId): Promise<SlotsFound> {
  const read = async (name: string): Promise<SlotContent> => decodeSlot(checksum, storeId, await files.read(name));
  const contents = [await read(slotNames[0]), await read(slotNames[1])] as const;
  for (const content of contents) {
    if ('newerVersion' in content) {
      throw new StillpointError(
        'STORE_NEWER_FORMAT',
        `the catalog was written by a newer version (${content.newerVersion})`,
        {
          found: content.newerVersion,
          expected: catalogVersion,
        },
      );
    }
  }
  const seals = contents.flatMap((content) => ('seal' in content ? [content.seal] : []));
  const newest = seals.reduce<Seal | null>(
    (best, seal) => (best === null || seal.sequence > best.sequence ? seal : best),
    null,
  );
  return { contents, newest };
}

/** The slots of an open catalog. */
export class Slots {
  readonly #files: readonly [CatalogFile, CatalogFile];
  readonly #checksum: Checksum;
  readonly #storeId: StoreId;
  #newest: 0 | 1;

  private constructor(files: readonly [CatalogFile, CatalogFile], checksum: Checksum, storeId: StoreId, newest: 0 | 1) {
    this.#files = files;
    this.#checksum = checksum;
    this.#storeId = storeId;
    this.#newest = newest;
  }

  /**
   * Opens the slots with `seal` as the newest, writing those anew that do not have it or are not valid.
   *
   * Holds: afterwards both slots are valid and the newest seal is `seal`, durable.
   */
  static async open(
    files: CatalogFiles,
    checksum: Checksum,
    storeId: StoreId,
    found: SlotsFound,
    seal: Seal,
  ): Promise<Slots> {
    const holds = (content: SlotContent): boolean => 'seal' in content && content.seal.sequence === seal.sequence;
    const bytes = encodeSlot(checksum, storeId, seal);
    const [first, second] = found.contents;
    const isNewestFirst = holds(first) || !holds(second);
    // A slot that is valid and older stays: the next batch overwrites it. With none that has the seal, the one that
    // isn't valid, or else the older one, is written first, so that a crash in between costs no valid newest seal.
    const isAsFound = holds(first) || holds(second);
    if (!isAsFound) {
      const isFirstOlder = !('seal' in first) || ('seal' in second && first.seal.sequence <= second.seal.sequence);
      await replaceDurably(files, slotNames[isFirstOlder ? 0 : 1], bytes);
      await replaceDurably(files, slotNames[isFirstOlder ? 1 : 0], bytes);
    } else {
      if (!('seal' in first)) await replaceDurably(files, slotNames[0], bytes);
      if (!('seal' in second)) await replaceDurably(files, slotNames[1], bytes);
    }
    const handles = [await files.open(slotNames[0]), await files.open(slotNames[1])] as const;
    const newest = isNewestFirst ? 0 : 1;
    if (isAsFound) {
      // It may be in the page cache only, where a process was killed before its sync, or that failed; and the next batch
      // overwrites the other one, which is durable. Written again before that, it may be torn: the other one is whole.
      await handles[newest].write(bytes);
      await handles[newest].sync();
    }
    return new Slots(handles, checksum, storeId, newest);
  }

  /** Writes a seal over the older slot; durable when it resolves. */
  async write(seal: Seal): Promise<void> {
    const older = this.#newest === 0 ? 1 : 0;
    const file = this.#files[older];
    await file.write(encodeSlot(this.#checksum, this.#storeId, seal));
    await file.sync();
    this.#newest = older;
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }
}

/** The files of the slots that are not valid, with what is wrong about each. */
export function slotProblems(found: SlotsFound): { readonly file: string; readonly problem: string }[] {
  return slotNames.flatMap((file, index) => {
    const content = found.contents[index];
    return content !== undefined && 'problem' in content ? [{ file, problem: content.problem }] : [];
  });
}
