/** The images of both moments: the user's own or a series of `fixtures/images`, made when it is not cached. */

import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';

import { inCheckout } from '../checkout.js';
import type { CompareOptions } from './options.js';
import { CommandFailed, runCommand } from './process.js';

export interface Images {
  readonly directory: string;
  /** File names, the same at both moments. */
  readonly names: readonly string[];
  readonly sizeBytes: number;
  /** What the images of the first moment take on the disk: holes not counted. */
  readonly dataBytes: number;
}

export type Moment = 1 | 2;

export function momentDirectory(images: Images, moment: Moment): string {
  return path.join(images.directory, String(moment));
}

export async function imagesFor(options: CompareOptions): Promise<Images> {
  const directory = options.images ?? (await series(options.small));
  const [names, later] = await Promise.all(['1', '2'].map((moment) => rawFiles(path.join(directory, moment))));
  if (names === undefined || names.length === 0 || names.join() !== later?.join()) {
    throw new CommandFailed(
      `${directory} has not the same .raw files in 1/ and 2/: ${names?.join()} and ${later?.join()}`,
    );
  }
  const stats = await Promise.all(names.map((name) => stat(path.join(directory, '1', name))));
  const sum = (value: (each: (typeof stats)[number]) => number): number =>
    stats.reduce((total, each) => total + value(each), 0);
  return { directory, names, sizeBytes: sum(({ size }) => size), dataBytes: sum(({ blocks }) => blocks * 512) };
}

/** Reads everything once, so that every contender finds the images in the page cache. */
export async function warmCache(images: Images): Promise<void> {
  for (const moment of [1, 2] as const) {
    for (const name of images.names) {
      const stream = createReadStream(path.join(momentDirectory(images, moment), name), { highWaterMark: 1 << 20 });
      await new Promise<void>((resolve, reject) => stream.on('end', resolve).on('error', reject).resume());
    }
  }
}

async function rawFiles(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => []);
  return names.filter((name) => name.endsWith('.raw')).sort();
}

async function series(small: boolean): Promise<string> {
  process.stderr.write('looking for the images, which are made once\n');
  const args = [inCheckout('fixtures', 'images', 'make.mjs'), ...(small ? ['--small'] : [])];
  const { stdout } = await runCommand({ program: process.execPath, args });
  return stdout.trim();
}
