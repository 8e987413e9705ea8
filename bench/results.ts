/** Where results go: `bench/results/`, which git ignores. The newest of a kind has a fixed name. */

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { inCheckout } from './checkout.js';

/** Writes a file and gives its path. */
export async function writeResult(name: string, text: string): Promise<string> {
  const directory = inCheckout('bench', 'results');
  await mkdir(directory, { recursive: true });
  const file = path.join(directory, name);
  await writeFile(file, text);
  return file;
}

export async function writeJsonResult(name: string, value: unknown): Promise<string> {
  return writeResult(name, `${JSON.stringify(value, null, 2)}\n`);
}
