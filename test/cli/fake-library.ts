/** The fake library: makes and opens fake stores of a world. */

import { StillpointError } from '../../src/store/errors.js';
import type { PortableStore } from '../../src/portable/index.js';
import type { Library } from '../../src/control/library.js';
import { FakeStore } from './fake-store.js';
import type { FakeStoreState, FakeWorld } from './fake-world.js';

function stateAt(world: FakeWorld, path: string): FakeStoreState {
  const state = world.stores.get(path);
  if (state === undefined) throw new StillpointError('STORE_NOT_FOUND', `there is no store in ${path}`, { path });
  return state;
}

/** A library whose stores live in the world. */
export function fakeLibrary(world: FakeWorld): Library {
  return {
    async createStore({ path, chunkBytes = 65_536, compression = 'zstd', compressionLevel = 2 }) {
      if (world.stores.has(path))
        throw new StillpointError('STORE_EXISTS', `there is a store in ${path} already`, { path });
      const createdMs = world.clock.nowMs();
      const info = { storeId: world.id(), formatVersion: 1, createdMs, chunkBytes, compression, compressionLevel };
      world.stores.set(path, { info, machines: [], points: [], disks: [], garbageBytes: 0 });
    },
    async openStore({ path, readOnly = false, threads }) {
      world.threads = threads ?? null;
      world.openings.push(readOnly ? `${path} (read-only)` : path);
      const state = stateAt(world, path);
      if (!readOnly && world.unwritable.has(path)) {
        throw new StillpointError('PERMISSION_DENIED', `cannot open ${path}/lock: Read-only file system`, { path });
      }
      if (!readOnly && world.locked.has(path)) {
        throw new StillpointError('STORE_LOCKED', `another process has the store ${path} open for writing`, { path });
      }
      world.openCount += 1;
      return new FakeStore(world, path, state, readOnly);
    },
    async openPortable(path) {
      const state = stateAt(world, path);
      const store = new FakeStore(world, path, state, true);
      const portable: PortableStore = {
        path,
        storeId: state.info.storeId,
        createdMs: state.info.createdMs,
        chunkBytes: state.info.chunkBytes,
        points: () =>
          state.points.map(
            ({ id, machine, collection, createdMs, name, sequence, consistency, configuration, disks }) => ({
              id,
              createdMs,
              machine: { id: '', name: machine, subscription: '', resourceGroup: 'default' },
              collection: { id: '', name: collection },
              name,
              sequence,
              consistency,
              configuration,
              disks,
            }),
          ),
        problems: () => world.findings.map((finding) => ({ ...finding, code: 'MANIFEST_DAMAGED', hits: [] })),
        readDisk: () => store.read(),
        diskStream: () => {
          throw new Error('not needed here');
        },
        restoreDisk: (point, disk, to, options = {}) => store.restore(point, { disk, to, ...options }),
        verify: async () => [],
        close: async () => undefined,
      };
      return portable;
    },
    imageKind: async (path) => world.imageKinds.get(path) ?? 'raw',
  };
}
