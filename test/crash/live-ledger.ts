/**
 * What the process beside this file did as far as it said so, and the check of a store against it.
 *
 * Laws, those of write-order consistency: a state has, of every writer, exactly its operations up to some number; that number is
 * not below what had to be there nor above what was submitted; and what any block's writer had seen is there too, on
 * whatever disk. So all disks of a state come from one prefix.
 */

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { expect } from 'vitest';

import { createStore, openStore, type Store } from '../../src/index.js';
import {
  blockBytes,
  diskBytes,
  facts,
  machines,
  offsetOf,
  operationAt,
  placeOf,
  roles,
  slotCount,
  stampOf,
  writerCount,
  type Fact,
  type Stamp,
} from './stamps.mjs';

/** Bytes of each disk of a machine at one moment. */
type State = readonly Uint8Array[];

interface Point {
  /** What was acknowledged when it was asked for. */
  readonly least: readonly number[];
  /** What was submitted when it was answered; null while nobody was answered. */
  most: readonly number[] | null;
  /** Whether it must be there: answered, and no deletion was under way. */
  isCertain: boolean;
  hash: string | null;
}

interface Machine {
  /** The last operation of each writer, after each round. */
  readonly ends: (readonly number[])[];
  readonly points: Map<string, Point>;
}

type Line =
  | { readonly will: 'capture'; readonly machine: string; readonly name: string; readonly numbers: readonly number[] }
  | {
      readonly did: 'capture';
      readonly machine: string;
      readonly name: string;
      readonly numbers: readonly number[];
    }
  | { readonly will: 'delete' | 'clone'; readonly machine: string; readonly name: string }
  | { readonly did: 'delete'; readonly machine: string; readonly name: string }
  | { readonly did: 'open' };

/** What was lost: the process alone, which loses nothing that was acknowledged, or the power too. */
export type Loss = 'process' | 'power';

export interface Checked {
  readonly operations: number;
  readonly points: number;
  readonly copied: number;
}

const nothing: readonly number[] = Array.from({ length: writerCount }, () => 0);

/** Makes the store with its machines. */
export async function createLiveStore(storePath: string): Promise<void> {
  await createStore({ path: storePath });
  await using store = await openStore({ path: storePath });
  for (const name of machines) {
    for (const role of roles) await store.createDisk({ name: `${name}-${role}`, sizeBytes: diskBytes });
    await store.createVirtualMachine({
      name,
      disks: Object.fromEntries(roles.map((role) => [role, `${name}-${role}`])),
    });
  }
}

export class Ledger {
  readonly #folder: string;
  readonly #machines: ReadonlyMap<string, Machine> = new Map(
    machines.map((name) => [name, { ends: [nothing], points: new Map() }]),
  );
  #clones = new Map<string, string>();
  #round = 0;

  /** `folder` is where the process says what it does; not on the file system that loses its power. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Lays out what the process needs for its next round. */
  begin(): void {
    this.#round += 1;
    const last = machines.map((name) => this.#machine(name).ends.at(-1) ?? nothing);
    const next = last.map((numbers) => numbers.map((number) => number + 1));
    writeFileSync(this.#file('plan.json'), JSON.stringify({ round: this.#round, next }));
    writeFileSync(this.#file('said'), '');
    const progress = Buffer.alloc(machines.length * writerCount * facts.length * 8);
    for (const [machine, numbers] of last.entries()) {
      for (const [writer, number] of numbers.entries()) {
        for (const fact of facts) progress.writeDoubleLE(number, placeOf(machine, writer, fact));
      }
    }
    writeFileSync(this.#file('progress'), progress);
  }

  /** Opens the store after the process has ended and checks everything; copies have ended when it resolves. */
  async check(storePath: string, loss: Loss): Promise<Checked> {
    const progress = readFileSync(this.#file('progress'));
    this.#learn();
    await using store = await openStore({ path: storePath });
    let operations = 0;
    let points = 0;
    let copied = 0;
    for (const [index, name] of machines.entries()) {
      const numbers = (fact: Fact): number[] =>
        Array.from(nothing, (_, writer) => progress.readDoubleLE(placeOf(index, writer, fact)));
      const machine = this.#machine(name);
      const least = numbers(loss === 'process' ? 'acknowledged' : 'durable');
      const before = machine.ends.at(-1) ?? nothing;
      const end = this.#checkState(
        name,
        `the disks of ${name}`,
        await liveState(store, name),
        least,
        numbers('submitted'),
      );
      machine.ends.push(end);
      operations += end.reduce((sum, number, writer) => sum + number - (before[writer] ?? 0), 0);
      const checked = await this.#checkPoints(store, name, machine);
      points += checked.points;
      copied += checked.copied;
      await this.#checkClone(store, name);
    }
    expect((await store.verify({ readData: true })).findings).toEqual([]);
    return { operations, points, copied };
  }

  async #checkPoints(store: Store, name: string, machine: Machine): Promise<{ points: number; copied: number }> {
    const there = await store.restorePoints(name);
    const names = new Set(there.map((point) => point.name));
    for (const [point, { isCertain }] of machine.points) {
      if (isCertain) expect(names, 'every answered point is there').toContain(point);
      if (!names.has(point)) machine.points.delete(point);
    }
    let resumed = 0;
    for (const { name: pointName, reference, state } of there) {
      const point = machine.points.get(pointName);
      if (point === undefined) throw new Error(`${reference} is no point of which anybody knows`);
      if (state === 'failed' && point.most === null) {
        await store.deletePoint(reference); // nobody was answered
        machine.points.delete(pointName);
        continue;
      }
      if (state === 'deleting') {
        expect(point.isCertain, `${reference} is deleted because somebody wanted it`).toBe(false);
        await untilGone(store, name, pointName);
        machine.points.delete(pointName);
        continue;
      }
      const bytes = await pointState(store, reference);
      this.#checkState(name, reference, bytes, point.least, point.most ?? machine.ends.at(-1) ?? nothing);
      const hash = hashOf(bytes);
      if (point.hash !== null) expect(hash, `${reference} is as it was`).toBe(point.hash);
      if (state !== 'copied') {
        await untilCopied(store, reference);
        expect(hashOf(await pointState(store, reference)), `${reference} is the same once copied`).toBe(hash);
        resumed += 1;
      }
      machine.points.set(pointName, { ...point, hash, isCertain: true });
    }
    return { points: there.length, copied: resumed };
  }

  /** A disk that was made from a point has the point's content. */
  async #checkClone(store: Store, machine: string): Promise<void> {
    const name = `clone-${machine}`;
    if (!(await store.disks()).some((disk) => disk.name === name)) return;
    const bytes = await (await store.disk(name)).read(0, diskBytes);
    const point = this.#clones.get(machine);
    const references = (await store.restorePoints(machine)).filter((each) => each.name === point);
    for (const { reference } of references) {
      const expected = await store.read(reference, { disk: roles[0] ?? '', offset: 0, length: diskBytes });
      expect(Buffer.compare(bytes, expected), `${name} is what ${reference} has`).toBe(0);
    }
    for (let at = 0; at < diskBytes; at += blockBytes) stampOf(bytes.subarray(at, at + blockBytes));
  }

  /** Checks the laws; gives the last operation of each writer. */
  #checkState(
    machine: string,
    what: string,
    state: State,
    least: readonly number[],
    most: readonly number[],
  ): readonly number[] {
    const stamps: Stamp[] = [];
    const ends = Array.from(nothing, (_, writer) => {
      const slots = slotsOf(state, writer);
      stamps.push(...slots.filter((stamp) => stamp !== null));
      return endOf(what, writer, slots, least[writer] ?? 0, most[writer] ?? 0);
    });
    for (const { writer, number, round, seen } of stamps) {
      for (const [other, saw] of seen.entries()) {
        const has = ends[other] ?? 0;
        if (saw > has) {
          throw new Error(
            `${what} has operation ${number} of writer ${writer}, which saw ${saw} of ${other}, but ends at ${has}`,
          );
        }
      }
      expect(round, `${what}: the round of operation ${number} of writer ${writer}`).toBe(
        this.#roundOf(machine, writer, number),
      );
    }
    return ends;
  }

  #roundOf(machine: string, writer: number, number: number): number {
    const round = this.#machine(machine).ends.findIndex((end) => number <= (end[writer] ?? 0));
    return round < 0 ? this.#round : round;
  }

  #learn(): void {
    for (const text of readFileSync(this.#file('said'), 'utf8')
      .split('\n')
      .filter((line) => line !== '')) {
      // A cast: the process beside this file writes these lines and no others.
      const line = JSON.parse(text) as Line;
      if (!('machine' in line)) continue;
      const { points } = this.#machine(line.machine);
      if ('did' in line) {
        const point = points.get(line.name);
        if (line.did === 'delete') points.delete(line.name);
        else if (point !== undefined) points.set(line.name, { ...point, most: line.numbers, isCertain: true });
      } else if (line.will === 'capture') {
        points.set(line.name, { least: line.numbers, most: null, isCertain: false, hash: null });
      } else if (line.will === 'delete') {
        const point = points.get(line.name);
        if (point !== undefined) point.isCertain = false;
      } else this.#clones.set(line.machine, line.name);
    }
  }

  #machine(name: string): Machine {
    const machine = this.#machines.get(name);
    if (machine === undefined) throw new Error(`no machine ${name}`);
    return machine;
  }

  #file(name: string): string {
    return path.join(this.#folder, name);
  }
}

/** What each slot of a writer says, disk by disk. */
function slotsOf(state: State, writer: number): (Stamp | null)[] {
  return state.flatMap((disk, diskIndex) =>
    Array.from({ length: slotCount }, (_, slot) => {
      const at = offsetOf(writer, slot);
      const stamp = stampOf(disk.subarray(at, at + blockBytes));
      if (stamp !== null) {
        const { writer: by, disk: on, slot: place } = stamp;
        expect([by, on, place], 'a block lies where it was written').toEqual([writer, diskIndex, slot]);
      }
      return stamp;
    }),
  );
}

/** The last number such that the slots are what the operations up to it leave. */
function endOf(what: string, writer: number, slots: readonly (Stamp | null)[], least: number, most: number): number {
  const found = slots.map((stamp) => stamp?.number ?? 0);
  const newest = Math.max(...found);
  if (newest > most)
    throw new Error(`${what} has operation ${newest} of writer ${writer}, of which ${most} were submitted`);
  // Zeroes say nothing of themselves, and hide writes: the end may be any of those after the newest write that is seen.
  let end: number | null = null;
  for (let number = newest; number <= most; number += 1) {
    const isSeen = number === newest || operationAt(writer, number).kind !== 'write';
    if (number >= least && isSeen && isAfter(writer, number, found)) end = number;
  }
  if (end !== null) return end;
  throw new Error(
    `${what} ends with operation ${newest} of writer ${writer}, is no state of its operations from ${least} to ${most}: ${found.join(' ')}`,
  );
}

/** Whether the slots have what the operations up to `end` leave: the number of a write, 0 where there are zeroes. */
function isAfter(writer: number, end: number, found: readonly number[]): boolean {
  const expected = new Map<number, number>();
  for (let number = end; number > 0 && expected.size < found.length; number -= 1) {
    const { kind, disk, slot } = operationAt(writer, number);
    const place = disk * slotCount + slot;
    if (!expected.has(place)) expected.set(place, kind === 'write' ? number : 0);
  }
  return found.every((number, place) => number === (expected.get(place) ?? 0));
}

async function liveState(store: Store, machine: string): Promise<State> {
  return Promise.all(roles.map(async (role) => (await store.disk(`${machine}-${role}`)).read(0, diskBytes)));
}

function pointState(store: Store, reference: string): Promise<State> {
  return Promise.all(roles.map((disk) => store.read(reference, { disk, offset: 0, length: diskBytes })));
}

function hashOf(state: State): string {
  const hash = createHash('sha256');
  for (const bytes of state) hash.update(bytes);
  return hash.digest('hex');
}

/** Opening a store finishes the deletions that it finds. */
async function untilGone(store: Store, machine: string, name: string): Promise<void> {
  for (;;) {
    const point = (await store.restorePoints(machine)).find((each) => each.name === name);
    if (point === undefined) return;
    expect(point.state, `${point.reference} while it is deleted`).toBe('deleting');
    await pause(2);
  }
}

/** Opening a store resumes its copies; nobody has a handle of theirs. */
async function untilCopied(store: Store, reference: string): Promise<void> {
  for (;;) {
    const { state } = await store.restorePoint(reference);
    if (state === 'copied') return;
    expect(state, `${reference} while it is copied`).toBe('cut');
    await pause(2);
  }
}
