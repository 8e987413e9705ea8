/** A client of the control socket that sends whatever bytes a test wants. */

import { connect, type Socket } from 'node:net';

/** A raw connection. */
export class RawClient {
  readonly socket: Socket;
  #text = '';
  #isClosed = false;
  #wake: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.#text += bytes.toString();
      this.#wake();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  static async to(path: string): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => resolve(new RawClient(socket)));
      socket.once('error', reject);
    });
  }

  /** One that has said hello and heard it. */
  static async greeted(path: string): Promise<RawClient> {
    const client = await RawClient.to(path);
    client.send({ hello: { versions: [1] } });
    await client.message();
    return client;
  }

  send(message: object): void {
    this.socket.write(`${JSON.stringify(message)}\n`);
  }

  call(command: string, request: unknown, rows = false): void {
    this.send({ call: { command, request, rows } });
  }

  /** The next message; null when the connection has ended. */
  async message(): Promise<Record<string, unknown> | null> {
    for (;;) {
      const end = this.#text.indexOf('\n');
      if (end !== -1) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return JSON.parse(line) as Record<string, unknown>;
      }
      if (this.#isClosed) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The next message that is not progress. */
  async answer(): Promise<Record<string, unknown> | null> {
    for (;;) {
      const message = await this.message();
      if (message === null || !('progress' in message)) return message;
    }
  }

  /** Resolves when the connection has ended. */
  async ended(): Promise<void> {
    while (!this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
