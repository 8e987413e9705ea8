/**
 * Law: a point that is captured while a real guest writes to ext4 and xfs is one moment of both disks, each a sound file system once
 * its journal has been recovered, with every transaction whose fsync had returned before the capture. The same holds for what
 * is left when the server is killed, and a guest whose server comes back goes on.
 *
 * One guest runs through all of these tests. What it does stands in init.c, how it is booted in docs/nbd.md.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import path from 'node:path';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { CapturedPoint } from '../../src/index.js';
import { seededRandom } from '../../src/testing/index.js';
import { overSeeds } from '../house/seed-range.js';
import { hashOf } from '../interop/stage.js';
import type { GuestMachine } from './machine.js';
import { GuestStage, guestsAreMissing, type Moment } from './stage.js';
import { expectOneMoment } from './transactions.js';

const servingProcess = fileURLToPath(new URL('serving-process.mjs', import.meta.url));
const hours = 3_600_000;
const minutes = 60_000;

/** How long after what went before something happens, at most. */
const laterMsMax = 500;

function laterMs(seed: number): number {
  const [high = 0, low = 0] = seededRandom(seed).bytes(2);
  return (high * 256 + low) % laterMsMax;
}

describe.skipIf(guestsAreMissing())('a real guest with ext4 and xfs on two disks of one machine', () => {
  let stage: GuestStage;
  let guest: GuestMachine;
  const moments: Moment[] = [];

  beforeAll(async () => {
    stage = await GuestStage.make();
    guest = stage.boot('Boot a virtual machine and capture it while it runs');
    await guest.found();
    guest.work();
    await guest.committedMore(1);
  }, 5 * minutes);

  afterAll(async () => {
    await guest.kill();
    await stage.end();
  });

  /** Captures, and notes what the guest had committed before. */
  async function capture(name: string): Promise<{ moment: Moment; captured: CapturedPoint }> {
    const moment = { point: name, committed: guest.committed };
    const captured = await stage.store.capture('web1', { name });
    moments.push(moment);
    return { moment, captured };
  }

  it('is captured while it runs, and each point is one moment of sound file systems', { timeout: hours }, async () => {
    await overSeeds({ suite: 'guest-captures', quick: 8, full: 200 }, async (seed) => {
      await pause(laterMs(seed));
      const { moment } = await capture(`running-${seed}`);
      await stage.checkMoment(moment);
      return { captures: 1 };
    });
  });

  it('boots from a restore point, which stays as it is, while it runs itself', { timeout: 5 * minutes }, async () => {
    const { moment, captured } = await capture('before-upgrade');
    await captured.copied();
    const recovered = await stage.checkMoment(moment);
    const hashes = await hashesOf('untouched');

    const other = stage.boot('Boot a restore point to look into it');
    try {
      expect(await other.found()).toEqual(recovered);
      other.work();
      await other.committedMore(3);
    } finally {
      await other.kill();
    }

    await guest.committedMore(1);
    expect(await hashesOf('looked-into')).toEqual(hashes);
  });

  it('goes on when its server was killed and comes back, and nothing is lost', { timeout: hours }, async () => {
    await overSeeds({ suite: 'guest-server-killed', quick: 2, full: 50 }, async (seed) => {
      await stage.close();
      const server = await serving();
      await guest.committedMore(1);
      await pause(laterMs(seed));
      await killed(server);
      await stage.open();
      const { moment } = await capture(`killed-${seed}`); // before the guest can send anything again
      await stage.serve();
      await stage.checkMoment(moment);
      await guest.committedMore(1);
      return { kills: 1 };
    });
  });

  it('leaves sound file systems when it is killed, and so do all points, long after', { timeout: hours }, async () => {
    await guest.kill();
    const { moment, captured } = await capture('guest-killed');
    await captured.copied();

    const found = await stage.checkMoment(moment);

    expectOneMoment(found, guest.committed, 'after the guest');
    for (const each of moments) await stage.checkMoment(each);
  });

  async function hashesOf(name: string): Promise<string[]> {
    const hashes: string[] = [];
    for (const role of ['os', 'data']) {
      const to = path.join(stage.folder, `${name}-${role}.raw`);
      await stage.store.restore('web1/before-upgrade', { disk: role, to });
      hashes.push(await hashOf(to));
    }
    return hashes;
  }

  /** A process of its own that serves the store, once it does. */
  function serving(): Promise<ChildProcess> {
    const child = spawn(process.execPath, [servingProcess, stage.storePath, stage.socket], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return new Promise((resolve, reject) => {
      child.stdout.once('data', () => resolve(child));
      child.once('close', () => reject(new Error('the process ended before it served')));
    });
  }

  function killed(child: ChildProcess): Promise<void> {
    return new Promise((resolve) => {
      child.once('close', () => resolve());
      child.kill('SIGKILL');
    });
  }
});
