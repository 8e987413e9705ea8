/** A simulated world as the stage of histories. */

import { createStore, openStore } from '../../src/index.js';
import type { Images, Stage, World } from '../../src/testing/index.js';
import type { Setting } from './one-history.js';

/** Where the store of a stage is. */
export const storePath = '/store';

/** The images of histories in a world. */
export function worldImages(world: World): Images {
  const pathOf = (name: string): string => `/images/${name}`;
  return {
    install: (name, bytes) => {
      world.installFile(pathOf(name), bytes);
    },
    write: (name, offset, bytes) => {
      world.writeFile(pathOf(name), offset, bytes);
    },
    punchHole: (name, offset, length) => {
      world.punchHole(pathOf(name), offset, length);
    },
    setLength: (name, length) => {
      world.setLength(pathOf(name), length);
    },
    read: (name) => world.readFile(pathOf(name)) ?? new Uint8Array(),
    pathOf,
  };
}

/** A stage in a world, with a new store. */
export async function worldStage(
  world: World,
  making: Pick<Setting, 'chunkBytes' | 'compression'> = { chunkBytes: 16_384, compression: 'zstd' },
): Promise<Stage> {
  const { chunkBytes, compression } = making;
  await createStore({ path: storePath, chunkBytes, compression }, world.parts());
  return { images: worldImages(world), open: () => openStore({ path: storePath }, world.parts()) };
}
