/** A capture that takes seconds, and the moment when it has read some of its image and not all. */

import { watch } from 'node:fs';
import path from 'node:path';

import { smallStore, type SmallStore } from './small-store.js';
import { letters } from './temporary.js';

/**
 * At the highest level a store takes in a few MiB of letters a second. With the smallest chunks the first of them are
 * written after one MiB, so an unfinished pack tells that a scan is in its first part.
 */
const slowBytes = 6 * 1024 ** 2;

/** A store that takes long to capture `slowContent`. */
export async function slowStore(): Promise<SmallStore> {
  return smallStore({ compressionLevel: 19, chunkBytes: 16_384 });
}

/** An image that takes seconds. */
export function slowContent(seed: number): Buffer {
  return letters(seed, slowBytes);
}

/** Watches for an unfinished file in a folder; `seen` resolves when one was made. */
export function unfinishedIn(folder: string): { readonly seen: Promise<void>; stop(): void } {
  let see = (): void => undefined;
  const seen = new Promise<void>((resolve) => (see = resolve));
  const watcher = watch(folder, (_event, name) => {
    if (name?.endsWith('.tmp') === true) see();
  });
  return { seen, stop: () => watcher.close() };
}

/** The folder that a scan writes its packs to. */
export function packsOf({ path: storePath }: SmallStore): string {
  return path.join(storePath, 'home/packs');
}
