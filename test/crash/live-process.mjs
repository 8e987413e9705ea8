/**
 * A process that writes to the live disks of two machines as fast as it can, captures, clones and deletes, until it is killed.
 *
 * Arguments: store, folder for what it says, seed. The folder has `plan.json`: `{ round, next }`, with the number of the next
 * operation of each writer of each machine. How far each writer is goes into `progress` (stamps.mjs), what happens to points into
 * `said`, a line each. Both are written by calls that a kill of the process cannot undo, before and after what they speak of.
 */

import { openSync, readFileSync, writeSync } from 'node:fs';
import path from 'node:path';

import { openStore } from 'stillpoint';
import { seededRandom } from 'stillpoint/testing';

import {
  blockBytes,
  machines,
  offsetOf,
  operationAt,
  placeOf,
  roles,
  stamped,
  togetherFrom,
  writerCount,
} from './stamps.mjs';

const [storePath, folder, seed] = process.argv.slice(2);
const { round, next } = JSON.parse(readFileSync(path.join(folder, 'plan.json'), 'utf8'));
const progress = openSync(path.join(folder, 'progress'), 'r+');
const said = openSync(path.join(folder, 'said'), 'a');
const random = seededRandom(Number(seed));
const below = (limit) => random.bytes(2).reduce((value, byte) => value * 256 + byte, 0) % limit;
const say = (line) => writeSync(said, `${JSON.stringify(line)}\n`);
const number = Buffer.alloc(8);

function note(machine, writer, fact, value) {
  number.writeDoubleLE(value);
  writeSync(progress, number, 0, 8, placeOf(machine, writer, fact));
}

const store = await openStore({ path: storePath });

function machineState(name, machine) {
  const before = next[machine].map((first) => first - 1);
  return { name, machine, submitted: [...before], acknowledged: [...before], durable: [...before], disks: [] };
}

function nowDurable({ machine, durable }, numbers) {
  for (const [writer, value] of numbers.entries()) {
    if (value <= durable[writer]) continue;
    durable[writer] = value;
    note(machine, writer, 'durable', value);
  }
}

async function submit(state, writer, first, count) {
  const seen = state.acknowledged;
  const { disk } = operationAt(writer, first); // of all that go together
  const operations = Array.from({ length: count }, (_, index) => {
    const { kind, slot, fua } = operationAt(writer, first + index);
    const offset = offsetOf(writer, slot);
    if (kind !== 'write') return { kind, offset, length: blockBytes };
    return { kind, offset, fua, bytes: stamped({ writer, number: first + index, round, disk, slot, seen }) };
  });
  const [{ kind, offset, bytes, fua }] = operations;
  const handle = state.disks[disk];
  if (count > 1) return handle.batch(operations);
  if (kind === 'write') return handle.write(offset, bytes, { fua });
  return kind === 'zero' ? handle.writeZeroes(offset, blockBytes) : handle.trim(offset, blockBytes);
}

async function write(state, writer) {
  const { machine, submitted, acknowledged } = state;
  for (let first = next[machine][writer]; ;) {
    const count = togetherFrom(writer, first);
    const last = first + count - 1;
    const before = [...acknowledged];
    submitted[writer] = last;
    note(machine, writer, 'submitted', last);
    await submit(state, writer, first, count);
    acknowledged[writer] = last;
    note(machine, writer, 'acknowledged', last);
    const { disk, fua, flushes } = operationAt(writer, last);
    if (fua) {
      before[writer] = last;
      nowDurable(state, before);
    }
    if (flushes) {
      const flushed = [...acknowledged];
      await state.disks[disk].flush();
      nowDurable(state, flushed);
    }
    first = last + 1;
  }
}

/** Captures; now and then waits for the copy, clones, deletes. */
async function capture(state) {
  const { name: machine } = state;
  for (let count = 0; ; count += 1) {
    const points = await store.restorePoints(machine);
    if (points.length > 3) {
      const { name } = points[below(points.length)];
      say({ will: 'delete', machine, name });
      await store.deletePoint(`${machine}/${name}`);
      say({ did: 'delete', machine, name });
    }
    const name = `r${round}-${count}`;
    const numbers = [...state.acknowledged];
    say({ will: 'capture', machine, name, numbers });
    const point = await store.capture(machine, { name });
    say({ did: 'capture', machine, name, numbers: [...state.submitted] });
    nowDurable(state, numbers);
    if (below(3) === 0) await cloned(machine, name);
    if (below(2) === 0) await point.copied();
  }
}

/** A disk of a point, also of one that is being copied or gone meanwhile. The one before goes. */
async function cloned(machine, point) {
  const name = `clone-${machine}`;
  for (const disk of await store.disks()) if (disk.name === name) await (await store.disk(name)).delete();
  say({ will: 'clone', machine, name: point });
  await store.cloneDisk(name, `${machine}/${point}/${roles[0]}`);
}

const work = [];
for (const [machine, name] of machines.entries()) {
  const state = machineState(name, machine);
  for (const role of roles) state.disks.push(await store.disk(`${name}-${role}`));
  for (let writer = 0; writer < writerCount; writer += 1) work.push(() => write(state, writer));
  work.push(() => capture(state));
}
say({ did: 'open' });
writeSync(1, 'open\n');
await Promise.all(work.map((each) => each()));
