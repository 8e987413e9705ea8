/**
 * The thread that encrypts the clients of one NBD server with keys that both sides know.
 *
 * Descriptors come as numbers, which somebody has to close: who has them is known here until the thread says that it does. A
 * thread that ends is the end of its clients, and the next client begins another.
 */

import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';

import relay from './relay.cjs';

/** A client to be encrypted. */
interface Relayed {
  readonly client: number;
  readonly plain: number;
}

export class RelayThread {
  readonly #preSharedKeys: ReadonlyMap<string, Uint8Array>;
  #running: Running | null = null;
  #isEnding = false;

  constructor(preSharedKeys: ReadonlyMap<string, Uint8Array>) {
    this.#preSharedKeys = preSharedKeys;
    this.#running = this.#begin(); // the first client need not wait for it
  }

  /** Has clients encrypted; both descriptors of each are given away. */
  take(clients: readonly Relayed[]): void {
    for (const client of clients) {
      const running = this.#isEnding ? null : (this.#running ?? this.#beginAgain());
      if (running === null) closeBoth(client);
      else running.take(client);
    }
  }

  /** Ends all clients. Resolves when nothing of them is left. */
  async end(): Promise<void> {
    this.#isEnding = true;
    await this.#running?.end();
  }

  #begin(): Running {
    const running = new Running(this.#preSharedKeys, () => {
      if (this.#running === running) this.#running = null;
    });
    return running;
  }

  /** Null where there is no thread to be had: the next client tries again. */
  #beginAgain(): Running | null {
    try {
      this.#running = this.#begin();
    } catch {
      this.#running = null;
    }
    return this.#running;
  }
}

class Running {
  readonly #worker: Worker;
  /** Sent and not taken yet, in the order in which they will be. */
  readonly #underWay: Relayed[] = [];
  readonly #ended: Promise<void>;

  constructor(preSharedKeys: ReadonlyMap<string, Uint8Array>, onEnded: () => void) {
    // Flags of the program, as for loading TypeScript, are nothing to the thread.
    this.#worker = new Worker(relay.file, { name: 'nbd-psk', workerData: { preSharedKeys }, execArgv: [] });
    this.#worker.unref(); // the server keeps the process alive
    this.#worker.on('message', () => this.#underWay.shift());
    this.#worker.on('error', () => undefined); // its clients are gone, as `exit` says
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#underWay.splice(0).forEach(closeBoth); // what it took is closed with it
        onEnded();
        resolve();
      });
    });
  }

  take(client: Relayed): void {
    this.#underWay.push(client);
    this.#worker.postMessage(client);
  }

  async end(): Promise<void> {
    this.#worker.ref();
    this.#worker.postMessage('end');
    await this.#ended;
  }
}

function closeBoth({ client, plain }: Relayed): void {
  closeSync(client);
  closeSync(plain);
}
