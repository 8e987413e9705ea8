/**
 * Words that every part shares: branded ids and consistency modes. The only casts that make ids are here.
 *
 * An id is 16 random bytes as 32 lower-case hexadecimal digits (format.md, conventions). The brands keep the id of one
 * kind of thing from being passed where another's is meant; at run time they are plain strings.
 */

declare const brand: unique symbol;

/** Id of a store. */
export type StoreId = string & { readonly [brand]: 'store' };
/** Id of a virtual machine. */
export type MachineId = string & { readonly [brand]: 'machine' };
/** Id of a disk. */
export type DiskId = string & { readonly [brand]: 'disk' };
/** Id of a collection of restore points. */
export type CollectionId = string & { readonly [brand]: 'collection' };
/** Id of a restore point. */
export type PointId = string & { readonly [brand]: 'point' };

/** Bytes of an id. */
export const idBytes = 16;

/** What an id looks like. */
export const idPattern: RegExp = /^[0-9a-f]{32}$/;

function idText(text: string): string {
  if (!idPattern.test(text)) throw new TypeError(`${JSON.stringify(text)} is not an id of 32 hexadecimal digits`);
  return text;
}

/** A text as the id of a store; a `TypeError` when it is none. */
export const toStoreId = (text: string): StoreId => idText(text) as StoreId;
/** A text as the id of a machine; a `TypeError` when it is none. */
export const toMachineId = (text: string): MachineId => idText(text) as MachineId;
/** A text as the id of a disk; a `TypeError` when it is none. */
export const toDiskId = (text: string): DiskId => idText(text) as DiskId;
/** A text as the id of a collection; a `TypeError` when it is none. */
export const toCollectionId = (text: string): CollectionId => idText(text) as CollectionId;
/** A text as the id of a restore point; a `TypeError` when it is none. */
export const toPointId = (text: string): PointId => idText(text) as PointId;

/** How consistent a restore point is, from the strongest to the weakest. */
export const consistencyModes = ['applicationConsistent', 'fileSystemConsistent', 'crashConsistent'] as const;

/** How consistent a restore point is. */
export type ConsistencyMode = (typeof consistencyModes)[number];
