/** Which files a process sees: those of its mount namespace. */

import { readlink } from 'node:fs/promises';

/** The name of this process's mount namespace; null where there is no /proc. */
export async function mountNamespace(): Promise<string | null> {
  return readlink('/proc/self/ns/mnt').catch(() => null);
}
