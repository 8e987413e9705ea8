/** A store that the test's process holds and serves, in the directory of a `RealShell`. */

import { join } from 'node:path';

import { commandClock } from '../../src/control/clock.js';
import { library } from '../../src/control/library.js';
import { ControlServer, type ControlOptions } from '../../src/control/server.js';
import { openStore, type Store } from '../../src/index.js';

/** A store that is being served. */
export class ServedStore {
  readonly store: Store;
  readonly server: ControlServer;

  private constructor(store: Store, server: ControlServer) {
    this.store = store;
    this.server = server;
  }

  /** Opens and serves the store `.stillpoint` of a directory. */
  static async in(directory: string, options: Partial<ControlOptions> = {}): Promise<ServedStore> {
    const storePath = join(directory, '.stillpoint');
    const store = await openStore({ path: storePath, threads: 2 });
    const clock = commandClock;
    try {
      const server = await ControlServer.listen({ store, storePath, library, clock, takes: 'all', ...options });
      return new ServedStore(store, server);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.server.close(0);
    await this.store.close();
  }
}
