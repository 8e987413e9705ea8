/** A write log that takes no more writes: its machine waits, everything else goes on, and it is opened anew in the open store. */

import { describe, expect, it } from 'vitest';

import { StillpointError } from '../../src/store/errors.js';
import type { StoreEvent } from '../../src/store/events.js';
import type { Store } from '../../src/store/handles.js';
import { listing, storePath, World } from '../store/world.js';

const fenced = expect.objectContaining({ code: 'LOG_FENCED', kind: 'reopen' });

/** A world whose machine `db` has a point that waits for its copy, with its log fenced, and a machine `web`. */
async function fencedLog(): Promise<{ world: World; store: Store; id: string }> {
  const { world, store } = await World.makeManaged();
  const { id } = await store.virtualMachine('db');
  await store.createDisk({ name: 'web-os', sizeBytes: 4096 });
  await store.createVirtualMachine({ name: 'web', disks: { os: 'web-os' } });
  world.onEngineStep = (step) => {
    if (step === 'copy-before') throw new StillpointError('LOG_FENCED', 'a sync failed');
  };
  await store.capture('db', { name: 'new' });
  world.engine.fenceLog(storePath, id);
  return { world, store, id };
}

describe('a store with a log that takes no more writes', () => {
  it('says which and why, reads it, and serves other machines', async () => {
    const { world, store, id } = await fencedLog();
    expect((await store.status()).failedLogs).toEqual([
      {
        logId: id,
        machine: 'db',
        disk: null,
        code: 'LOG_FENCED',
        message: expect.stringContaining('no more writes') as string,
      },
    ]);
    expect((await store.virtualMachine('db')).unavailable?.code).toBe('LOG_FENCED');
    expect((await store.virtualMachine('web')).unavailable).toBeUndefined();
    const disk = await store.disk('db-os');
    expect(disk.info.unavailable?.code).toBe('LOG_FENCED');
    expect((await disk.read(0, 512))[0]).toBe(1);
    await expect(disk.write(0, new Uint8Array(512))).rejects.toEqual(fenced);
    await expect(disk.flush()).rejects.toEqual(fenced);
    await expect(store.capture('db')).rejects.toEqual(fenced);
    world.onEngineStep = () => undefined;
    await world.fill(store, 'web-os', 4);
    await (await store.capture('web')).copied();
  });

  it('goes on with the machine once its log is opened anew, copies included', async () => {
    const { world, store, id } = await fencedLog();
    world.engine.failLog(storePath, id, 'IO_FAILED');
    expect((await store.reopenLogs()).map(({ code, file }) => [code, file])).toEqual([['LOG_FENCED', `live/${id}`]]);
    expect((await (await store.disk('db-os')).read(0, 512))[0]).toBe(1);
    world.engine.failLog(storePath, id, null);
    world.onEngineStep = () => undefined;
    expect(await store.reopenLogs()).toEqual([]);
    expect((await store.status()).failedLogs).toEqual([]);
    await expect.poll(() => listing(store)).toEqual(['db/default/new copied']);
    await world.fill(store, 'db-os', 5);
    await (await store.capture('db', { name: 'later' })).copied();
    expect(await store.reopenLogs()).toEqual([]);
  });

  it('stops a copy that runs before the log is opened anew, and whoever waits for it gets it', async () => {
    const { world, store } = await World.makeManaged();
    const { id } = await store.virtualMachine('db');
    const steps: string[] = [];
    let begin: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    world.onEngineStep = async (step) => {
      steps.push(step);
      if (step !== 'copy-before') return;
      begin();
      await ended;
    };
    const point = await store.capture('db', { name: 'new' });
    const copied = point.copied();
    await begun;
    world.engine.fenceLog(storePath, id);
    const reopened = store.reopenLogs();
    expect(steps).not.toContain('logs-reopen');
    end();
    await reopened;
    expect((await copied).state).toBe('copied');
    expect(steps).toContain('logs-reopen');
  });

  it('tells listeners when a log fails, for what reason, and when that is over', async () => {
    const { world, store, id } = await fencedLog();
    const told: StoreEvent[] = [];
    const ending = new AbortController();
    const listening = (async () => {
      for await (const event of store.events({ intervalMs: 10, signal: ending.signal })) {
        if (event.kind === 'logFailed' || event.kind === 'logOpened') told.push(event);
      }
    })();
    await expect.poll(() => told).toHaveLength(1);
    world.onEngineStep = () => undefined;
    await store.reopenLogs();
    await expect.poll(() => told).toHaveLength(2);
    expect(told).toEqual([
      expect.objectContaining({ kind: 'logFailed', logId: id, machine: 'db', disk: null, code: 'LOG_FENCED' }),
      { kind: 'logOpened', logId: id, machine: 'db', disk: null },
    ]);
    ending.abort();
    await listening;
  });
});
