/** Long commands: Ctrl-C reaches the server, a pipe that closes ends them, others can look meanwhile. */

import { existsSync, readdirSync } from 'node:fs';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { codeOf } from '../input/command.js';
import { slowContent } from '../input/slow-scan.js';
import { writeStill } from '../input/temporary.js';
import { main, Place, type Kept } from './server.js';

let place: Place;

beforeEach(async () => {
  place = new Place();
});

afterEach(async () => {
  await place.remove();
});

/** A store whose machine takes seconds to capture. */
async function makeSlow(): Promise<void> {
  await place.done('init --level 19 --chunk-size 16KiB');
  await writeStill(place.at('slow.raw'), Buffer.concat([1, 2, 3, 4].map((seed) => slowContent(seed))));
  await place.done('vm create slow --external os=slow.raw');
}

/** Resolves when a capture has begun to write, or has ended. */
async function writes(command: Kept): Promise<void> {
  const packs = `${place.store}/home/packs`;
  while (command.child.exitCode === null) {
    if (existsSync(packs) && readdirSync(packs).some((name) => name.endsWith('.tmp'))) return;
    await pause(5);
  }
}

describe('a long command', () => {
  it('that a server carries out ends by Ctrl-C as it does in process', async () => {
    await makeSlow();
    const server = await place.serve('--threads 1');
    const capture = place.type('capture slow --json');
    await writes(capture);
    capture.child.kill('SIGINT');
    const ended = await capture.ended;
    expect([ended.code, codeOf(ended), ended.out]).toEqual([130, 'CANCELLED', '']);
    expect(await place.done('list')).toMatchObject({ value: [] });
    expect(server.records.find(({ msg }) => msg === 'call failed')).toMatchObject({ code: 'CANCELLED' });
  });

  it('that a server carries out is cancelled when its command is killed', async () => {
    await makeSlow();
    const server = await place.serve('--threads 1');
    const capture = place.type('capture slow --json');
    await writes(capture);
    capture.child.kill('SIGKILL');
    expect(await server.record('call failed')).toMatchObject({ command: 'capture', code: 'CANCELLED' });
    expect(await place.done('list')).toMatchObject({ value: [] });
  });

  it('is cancelled by a server that stops, when its time is over', async () => {
    await makeSlow();
    const server = await place.serve('--threads 1 --stop-timeout 0');
    const capture = place.type('capture slow --json');
    await writes(capture);
    server.child.kill('SIGTERM');
    const ended = await capture.ended;
    expect([ended.code, codeOf(ended)]).toEqual([1, 'CANCELLED']);
    expect(await server.ended).toMatchObject({ code: 0 });
    expect(await place.done('verify')).toMatchObject({ findings: [], pointsChecked: 0 });
  });

  it('without a server lets others look while it works', async () => {
    await makeSlow();
    const capture = place.type('capture slow --threads 1 --json');
    while (!existsSync(`${place.store}/control.sock`) && capture.child.exitCode === null) await pause(5);
    const status = await place.done('status');
    expect(status).toMatchObject({
      readOnly: false,
      server: { pid: capture.child.pid },
      work: [{ state: 'creating' }],
    });
    const other = await place.type('vm delete slow --json').ended;
    expect(codeOf(other)).toBe('STORE_LOCKED');
    capture.child.kill('SIGINT');
    await capture.ended;
    expect(existsSync(`${place.store}/control.sock`)).toBe(false);
  });

  it('whose reader closes its pipe ends quietly, and leaves the server as it was', async () => {
    await place.make();
    const server = await place.serve();
    await place.done('capture web1 --name a --wait');
    const sh = `'${process.execPath}' '${main}' list --json | head -c 1`;
    expect(await place.start('/bin/sh', ['-c', sh]).ended).toMatchObject({ code: 0, out: '{', err: '' });
    expect(await place.done('list')).toMatchObject({ value: [{ name: 'a' }] });
    server.child.kill('SIGTERM');
    expect(await server.ended).toMatchObject({ code: 0 });
  });
});
