/**
 * What the writers of the crash tests write: blocks that say who wrote them, when, and what their writer had seen.
 *
 * Each writer has slots of one block on every disk of its machine and does one operation after another, numbered from 1. What
 * an operation does follows from its number alone, so the state of a writer's slots after number N is known without an
 * oracle. Each block also names, for every writer of the machine, the last operation that was acknowledged when the block was
 * submitted: a state that has the block must have those too, whatever disk they are on.
 */

export const blockBytes = 4096;
export const writerCount = 6;
export const slotCount = 17;
export const roles = ['d0', 'd1', 'd2', 'd3'];
export const machines = ['alpha', 'beta'];
export const diskBytes = writerCount * slotCount * blockBytes;

const recordBytes = 64;
const magic = 0x5354_414d;

/** What is known of a writer in the file of progress: three numbers each. */
export const facts = ['submitted', 'acknowledged', 'durable'];

/** Where a fact stands in the file of progress. */
export function placeOf(machine, writer, fact) {
  return ((machine * writerCount + writer) * facts.length + facts.indexOf(fact)) * 8;
}

function mixed(writer, number, salt) {
  let value = Math.imul(number + 1, 0x9e3779b9) ^ Math.imul(writer + 1, 0x85ebca6b) ^ Math.imul(salt, 0xc2b2ae35);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

/** How many operations from this one on are submitted in one call; four of one disk now and then. */
export function togetherFrom(writer, number) {
  return mixed(writer, number >>> 2, 3) % 8 === 0 ? 4 - (number & 3) : 1;
}

/** What a writer's operation does. */
export function operationAt(writer, number) {
  const isTogether = mixed(writer, number >>> 2, 3) % 8 === 0;
  const disk = (isTogether ? mixed(writer, number >>> 2, 1) : mixed(writer, number, 1)) % roles.length;
  const slot = mixed(writer, number, 2) % slotCount;
  const chance = mixed(writer, number, 4) % 64;
  const kind = chance < 3 ? 'zero' : chance < 6 ? 'trim' : 'write';
  return { kind, disk, slot, fua: chance === 6 && !isTogether, flushes: chance === 7 };
}

/** Where a writer's slot begins on each disk. */
export function offsetOf(writer, slot) {
  return (writer * slotCount + slot) * blockBytes;
}

/** The block of a write. `seen` has a number for each writer of the machine. */
export function stamped({ writer, number, round, disk, slot, seen }) {
  const block = Buffer.alloc(blockBytes);
  block.writeUInt32LE(magic, 0);
  block.set([writer, disk, slot], 4);
  block.writeUInt32LE(number, 8);
  block.writeUInt32LE(round, 12);
  for (let other = 0; other < writerCount; other += 1) block.writeUInt32LE(seen[other] ?? 0, 16 + 4 * other);
  for (let bytes = recordBytes; bytes < blockBytes; bytes *= 2) block.copy(block, bytes, 0, bytes);
  return block;
}

/** What a block says; null when it is all zero. Throws when it is not the whole block of one write. */
export function stampOf(bytes) {
  const block = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isEven = block.subarray(recordBytes).equals(block.subarray(0, blockBytes - recordBytes));
  if (!isEven) throw new Error(`a torn block: ${block.subarray(0, recordBytes).toString('hex')}`);
  if (block.readUInt32LE(0) === 0) {
    if (block.subarray(0, recordBytes).some((byte) => byte !== 0)) throw new Error('a block of nobody');
    return null;
  }
  if (block.readUInt32LE(0) !== magic) throw new Error('a block of nobody');
  const [writer = 0, disk = 0, slot = 0] = block.subarray(4, 7);
  const seen = Array.from({ length: writerCount }, (_, other) => block.readUInt32LE(16 + 4 * other));
  return { writer, disk, slot, number: block.readUInt32LE(8), round: block.readUInt32LE(12), seen };
}
