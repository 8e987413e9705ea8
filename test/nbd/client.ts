/** An NBD client for tests: one request at a time, as the protocol's document has it. */

import { connect, type Socket } from 'node:net';

import type { NbdAddress } from '../../src/index.js';

const optionMagic = 0x49484156454f5054n; // IHAVEOPT
const requestMagic = 0x25609513;
const replyMagic = 0x67446698;
const option = { list: 3, structured: 8, go: 7, setContext: 10 } as const;
/** Numbers of commands. */
export const command = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, zeroes: 6, status: 7 } as const;
const ack = 1;
const server = 2;
const info = 3;

/** The header of a request. */
export function requestBytes(code: number, cookie: bigint, offset: number, length: number): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(requestMagic);
  header.writeUInt16BE(code, 6);
  header.writeBigUInt64BE(cookie, 8);
  header.writeBigUInt64BE(BigInt(offset), 16);
  header.writeUInt32BE(length, 24);
  return header;
}

/** What the server says that failed. */
export class NbdError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Bytes as they come. */
class Incoming {
  readonly #socket: Socket;
  #pieces: Buffer[] = [];
  #length = 0;
  #wake: () => void = () => undefined;
  #isOver = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (more: Buffer) => {
      this.#pieces.push(more);
      this.#length += more.length;
      this.#wake();
    });
    for (const end of ['close', 'error', 'end'] as const) {
      socket.on(end, () => {
        this.#isOver = true;
        this.#wake();
      });
    }
  }

  async take(count: number): Promise<Buffer> {
    while (this.#length < count) {
      if (this.#isOver) throw new Error('the server hung up');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const taken: Buffer[] = [];
    for (let wanted = count; wanted > 0;) {
      const [first = Buffer.alloc(0)] = this.#pieces;
      taken.push(first.subarray(0, wanted));
      if (first.length > wanted) this.#pieces[0] = first.subarray(wanted);
      else this.#pieces.shift();
      wanted -= Math.min(wanted, first.length);
    }
    this.#length -= count;
    return Buffer.concat(taken);
  }

  async untilOver(): Promise<void> {
    while (!this.#isOver) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#socket.destroy();
  }
}

/** One extent of a context. */
export interface StatusExtent {
  readonly length: number;
  readonly flags: number;
}

/** A client that has connected. */
export class NbdClient {
  readonly #socket: Socket;
  readonly #incoming: Incoming;
  #isStructured = false;
  #contextId = 0;
  #cookie = 0n;
  /** Of the export, once `go` has resolved. */
  sizeBytes = 0;
  flags = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#incoming = new Incoming(socket);
  }

  static async connect(address: NbdAddress): Promise<NbdClient> {
    const socket = 'unix' in address ? connect(address.unix) : connect(address.port, address.host);
    const client = new NbdClient(socket);
    await client.#incoming.take(18);
    const flags = Buffer.alloc(4);
    flags.writeUInt32BE(3);
    socket.write(flags);
    return client;
  }

  /** A client of an export, with a context to ask for where one is named. */
  static async open(address: NbdAddress, name: string, context?: string): Promise<NbdClient> {
    const client = await NbdClient.connect(address);
    try {
      if (context !== undefined) await client.#choose(name, context);
      const request = Buffer.concat([sized(name), Buffer.alloc(2)]);
      for (const { kind, data } of await client.#ask(option.go, request)) {
        if (kind !== info || data.readUInt16BE(0) !== 0) continue;
        client.sizeBytes = Number(data.readBigUInt64BE(2));
        client.flags = data.readUInt16BE(10);
      }
    } catch (error) {
      client.#socket.destroy();
      throw error;
    }
    return client;
  }

  /** Names and descriptions of all exports. */
  static async list(address: NbdAddress): Promise<Map<string, string>> {
    const client = await NbdClient.connect(address);
    const listed = await client.#ask(option.list, Buffer.alloc(0));
    client.#socket.destroy();
    const all = listed.flatMap(({ kind, data }): [string, string][] => {
      if (kind !== server) return [];
      const end = 4 + data.readUInt32BE(0);
      return [[data.subarray(4, end).toString(), data.subarray(end).toString()]];
    });
    return new Map(all);
  }

  async read(offset: number, length: number): Promise<Buffer> {
    return this.#request(command.read, offset, length, Buffer.alloc(0));
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#request(command.write, offset, bytes.byteLength, bytes);
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.#request(command.zeroes, offset, length, Buffer.alloc(0));
  }

  async trim(offset: number, length: number): Promise<void> {
    await this.#request(command.trim, offset, length, Buffer.alloc(0));
  }

  async flush(): Promise<void> {
    await this.#request(command.flush, 0, 0, Buffer.alloc(0));
  }

  /** All extents of the chosen context. */
  async status(): Promise<StatusExtent[]> {
    const all: StatusExtent[] = [];
    for (let at = 0; at < this.sizeBytes;) {
      const length = Math.min(this.sizeBytes - at, 2 ** 32 - 4096);
      const said = await this.#request(command.status, at, length, Buffer.alloc(0));
      for (let place = 4; place < said.length; place += 8) {
        const extent = { length: said.readUInt32BE(place), flags: said.readUInt32BE(place + 4) };
        all.push(extent);
        at += extent.length;
      }
    }
    return all;
  }

  /** Says goodbye and waits until the server has hung up. */
  async close(): Promise<void> {
    this.#send(command.disconnect, 0, 0, Buffer.alloc(0));
    await this.#incoming.untilOver();
  }

  /** Resolves when the server has hung up. */
  hungUp(): Promise<void> {
    return this.#incoming.untilOver();
  }

  /** Is gone without a word. */
  vanish(): void {
    this.#socket.destroy();
  }

  /** Sends bytes as they are and waits for nothing. */
  sendRaw(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** Takes so many bytes of what comes. */
  takeRaw(count: number): Promise<Buffer> {
    return this.#incoming.take(count);
  }

  /** Takes nothing from the socket any more. */
  stopReading(): void {
    this.#socket.pause();
  }

  /** Undoes `stopReading`. */
  readOn(): void {
    this.#socket.resume();
  }

  async #choose(name: string, context: string): Promise<void> {
    await this.#ask(option.structured, Buffer.alloc(0));
    this.#isStructured = true;
    const count = Buffer.alloc(4);
    count.writeUInt32BE(1);
    const chosen = await this.#ask(option.setContext, Buffer.concat([sized(name), count, sized(context)]));
    const first = chosen.find(({ kind }) => kind === 4);
    if (first === undefined) throw new NbdError(0, `no context ${context}`);
    this.#contextId = first.data.readUInt32BE(0);
  }

  async #ask(code: number, data: Buffer): Promise<{ kind: number; data: Buffer }[]> {
    const header = Buffer.alloc(16);
    header.writeBigUInt64BE(optionMagic);
    header.writeUInt32BE(code, 8);
    header.writeUInt32BE(data.length, 12);
    this.#socket.write(Buffer.concat([header, data]));
    const replies: { kind: number; data: Buffer }[] = [];
    for (;;) {
      const reply = await this.#incoming.take(20);
      const kind = reply.readUInt32BE(12);
      const body = await this.#incoming.take(reply.readUInt32BE(16));
      if (kind === ack) return replies;
      if (kind >= 2 ** 31) throw new NbdError(kind, body.toString());
      replies.push({ kind, data: body });
    }
  }

  #send(code: number, offset: number, length: number, bytes: Uint8Array): void {
    this.#cookie += 1n;
    this.#socket.write(Buffer.concat([requestBytes(code, this.#cookie, offset, length), bytes]));
  }

  async #request(code: number, offset: number, length: number, bytes: Uint8Array): Promise<Buffer> {
    this.#send(code, offset, length, bytes);
    if (this.#isStructured) return this.#structured(length);
    const reply = await this.#incoming.take(16);
    if (reply.readUInt32BE(0) !== replyMagic) throw new Error('not a reply');
    const errno = reply.readUInt32BE(4);
    if (errno !== 0) throw new NbdError(errno, `error ${errno}`);
    return this.#incoming.take(code === command.read ? length : 0);
  }

  async #structured(length: number): Promise<Buffer> {
    const whole = Buffer.alloc(length);
    let status: Buffer = Buffer.alloc(0);
    for (;;) {
      const header = await this.#incoming.take(20);
      const [flags, kind] = [header.readUInt16BE(4), header.readUInt16BE(6)];
      const body = await this.#incoming.take(header.readUInt32BE(16));
      if (kind >= 2 ** 15) throw new NbdError(body.readUInt32BE(0), body.subarray(6).toString());
      if (kind === 1) body.copy(whole, 0, 8);
      if (kind === 5 && body.readUInt32BE(0) === this.#contextId) status = body;
      if ((flags & 1) === 1) return status.length > 0 ? status : whole;
    }
  }
}

function sized(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
