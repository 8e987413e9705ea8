/** What the guest's workers leave on their disks (init.c), read and proven. */

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

import { expect } from 'vitest';

export const workerCount = 3;

const slotCount = 16;
const recordBytes = 512;
const slotBytes = 4096;
const headEvery = 8;
const headBytes = 40_000;

/** The numbers of the last transactions, of all workers, that something says of both disks. */
export interface Found {
  readonly os: readonly number[];
  readonly data: readonly number[];
}

/** All bytes that a worker writes for a transaction, at any place. */
function stampOf(worker: number, number: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let index = 2; index < length / 4; index += 1) {
    const mixed = Math.imul(number, 2_654_435_761) + Math.imul(worker, 40_503) + Math.imul(index, 2_246_822_519);
    bytes.writeUInt32LE((mixed ^ ((mixed >>> 0) >>> 15)) >>> 0, index * 4);
  }
  bytes.writeUInt32LE(number, 0);
  bytes.writeUInt32LE(worker, 4);
  return bytes;
}

/**
 * The number of the last transaction of each worker in a mounted file system. All of theirs before it have to be there, with all
 * that they wrote, and of later ones nothing but what the next one may have written before its commit.
 */
export async function lastTransactions(place: string): Promise<number[]> {
  const last: number[] = [];
  for (let worker = 0; worker < workerCount; worker += 1) {
    const folder = path.join(place, `worker-${worker}`);
    const log = await contentOf(path.join(folder, 'log'));
    const count = log.length / recordBytes;
    for (let number = 1; number <= count; number += 1) {
      const record = log.subarray((number - 1) * recordBytes, number * recordBytes);
      expect(record.equals(stampOf(worker, number, recordBytes)), `${folder}: record ${number} of ${count}`).toBe(true);
    }
    expect(log.length % recordBytes, `${folder}: bytes after the last record`).toBe(0);
    checkTable(worker, count, folder, await contentOf(path.join(folder, 'table')));
    checkHead(worker, count, folder, await contentOf(path.join(folder, 'head')));
    last.push(count);
  }
  return last;
}

function checkTable(worker: number, count: number, folder: string, table: Buffer): void {
  for (let number = Math.max(1, count - slotCount + 1); number <= count; number += 1) {
    const at = (number % slotCount) * slotBytes;
    const block = table.subarray(at, at + slotBytes);
    // The transaction under way may have overwritten the one that is oldest.
    const allowed = number === count - slotCount + 1 ? [number, count + 1] : [number];
    const isRight = allowed.some((each) => block.equals(stampOf(worker, each, slotBytes)));
    expect(isRight, `${folder}: block of transaction ${number} of ${count}`).toBe(true);
  }
}

function checkHead(worker: number, count: number, folder: string, head: Buffer): void {
  const allowed = [count - (count % headEvery), ...((count + 1) % headEvery === 0 ? [count + 1] : [])];
  const isRight = allowed.some((each) => head.equals(each === 0 ? Buffer.alloc(0) : stampOf(worker, each, headBytes)));
  expect(isRight, `${folder}: head at transaction ${count}`).toBe(true);
}

/** The bytes of a file that the first transaction of a worker may not have made yet. */
async function contentOf(file: string): Promise<Buffer> {
  return existsSync(file) ? readFile(file) : Buffer.alloc(0);
}

/** The law of a cut: what was committed before it is there, and the second disk is at no other moment than the first. */
export function expectOneMoment(found: Found, committedBefore: readonly number[], what: string): void {
  for (let worker = 0; worker < workerCount; worker += 1) {
    const [os = -1, data = -1] = [found.os[worker], found.data[worker]];
    const committed = committedBefore[worker] ?? 0;
    const facts = `${what}, worker ${worker}: os has ${os}, data ${data}, committed before ${committed}`;
    expect(data >= committed, facts).toBe(true);
    expect(os === data || os === data + 1, facts).toBe(true);
  }
}
