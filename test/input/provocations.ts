/**
 * For every code of the error table the calls that provoke it, or why none can.
 *
 * The type of the table is a record over all codes, so a new code does not compile before it stands here.
 */

import {
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import process from 'node:process';

import { serverOf } from '../../src/control/client.js';
import { commandClock } from '../../src/control/clock.js';
import { library } from '../../src/control/library.js';
import { ControlServer } from '../../src/control/server.js';
import { socketPathOf } from '../../src/control/socket-place.js';
import {
  createStore,
  isStillpointError,
  openStore,
  StillpointError,
  type ErrorCode,
  type Store,
} from '../../src/index.js';
import { memoryEngine, World } from '../../src/testing/index.js';
import { codeOf, runCommand } from './command.js';
import { changeConfigVersion } from './config-version.js';
import { liveStore, type LiveStore } from './live-store.js';
import { deviceOf, smallFileSystem } from './small-file-system.js';
import { packsOf, slowContent, slowStore, unfinishedIn } from './slow-scan.js';
import { smallStore, withOpen, type SmallStore } from './small-store.js';
import { NbdClient } from '../nbd/client.js';
import { noise, temporaryFolder, writeStill } from './temporary.js';

/** Makes the calls and gives the codes of what was thrown and found. */
export type Provoke = (shared: SharedStore) => Promise<readonly string[]>;

/** A code that no caller can meet: the words of docs/errors.md that say so. */
export interface OutOfReach {
  readonly because: string;
}

/** A store that is open, whose calls are refused without changing it. */
export interface SharedStore extends SmallStore {
  readonly open: Store;
}

/** What a call rejects with. */
async function refused(...calls: readonly Promise<unknown>[]): Promise<string[]> {
  const outcomes = await Promise.allSettled(calls);
  return outcomes.flatMap((outcome) => {
    if (outcome.status === 'fulfilled') return [];
    const reason: unknown = outcome.reason;
    if (!isStillpointError(reason)) throw reason;
    return [reason.code];
  });
}

/** A copy of the store as a crash at this moment would leave it. */
function copyOf({ path: storePath }: SmallStore): string {
  const copy = path.join(temporaryFolder(), 'store');
  cpSync(storePath, copy, { recursive: true, filter: (file) => path.basename(file) !== 'reserve' });
  return copy;
}

function filesIn(folder: string, ending: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .map((name) => path.join(folder, name));
}

/** Turns a byte in the middle of each file. */
function damage(files: readonly string[], at = 0.5): void {
  for (const file of files) {
    const bytes = readFileSync(file);
    const index = Math.floor(bytes.length * at);
    bytes[index] = (bytes[index] ?? 0) ^ 0xff;
    writeFileSync(file, bytes);
  }
}

/** What opening a store for writing finds, and what reading its first point gives. */
async function foundAndRead(storePath: string): Promise<string[]> {
  return withOpen(storePath, async (open) => {
    const read = await refused(open.read('web1/first', { disk: 'os', offset: 0, length: 131_072 }));
    return [...open.findings.map(({ code }) => code), ...read];
  });
}

/** The same after something was done to a copy of the store. */
function after(spoil: (copy: string) => void): Provoke {
  return async (shared) => {
    const copy = copyOf(shared);
    spoil(copy);
    return foundAndRead(copy);
  };
}

const manifests = (store: string): string[] => filesIn(`${store}/home/manifests`, '.manifest');
const packs = (store: string, ending: string): string[] => filesIn(`${store}/home/packs`, ending);
const remove = (files: readonly string[]): void => files.forEach((file) => rmSync(file));

/** The one manifest of the point `first`. */
function firstManifest(store: string): string {
  const file = manifests(store).find((each) => readFileSync(each).includes('"name":"first"'));
  if (file === undefined) throw new Error('the point has no manifest');
  return file;
}

function call(make: (open: Store, shared: SharedStore) => Promise<unknown>): Provoke {
  return (shared) => refused(make(shared.open, shared));
}

function restore(open: Store, to: string, overwrite = false): Promise<unknown> {
  return open.restore('web1/first', { disk: 'os', to, overwrite });
}

/** Captures a machine whose disk `new` is at a path. */
function captureOf(source: (shared: SharedStore) => string | Promise<string>): Provoke {
  return async (shared) => {
    const { open } = shared;
    await open.createVirtualMachine({ name: 'probe', disks: [{ role: 'new', external: await source(shared) }] });
    try {
      return await refused(open.capture('probe'));
    } finally {
      await open.deleteVirtualMachine('probe');
    }
  };
}

/** A process is killed in the middle of a capture; then somebody writes to the image of that capture. */
async function interruptedAndChanged(): Promise<readonly string[]> {
  const store = await slowStore();
  await writeStill(store.image, slowContent(2));
  const began = unfinishedIn(packsOf(store));
  const changed = await withOpen(store.path, async (open) => {
    const capture = refused(open.capture('web1'));
    await began.seen;
    began.stop();
    const copy = copyOf(store);
    truncateSync(store.image, 512);
    return [...(await capture), ...(await foundAndRead(copy))];
  });
  return changed;
}

let slowCodes: Promise<readonly string[]> | null = null;

/** Two codes come of one slow capture. */
const slow: Provoke = () => (slowCodes ??= interruptedAndChanged());

/** Writes to an image as fast as it goes while it is captured. */
async function neverStill(): Promise<readonly string[]> {
  const store = await smallStore();
  const image = openSync(store.image, 'r+');
  let isWriting = true;
  const write = (): void => {
    writeSync(image, 'w', 0);
    if (isWriting) setImmediate(write);
    else closeSync(image);
  };
  write();
  return withOpen(store.path, async (open) => {
    // A machine that stands still for 20 ms in between makes a change of it; the next try tells.
    for (let codes: string[] = []; ; codes = await refused(open.capture('web1'))) {
      if (codes.includes('SOURCE_NOT_STILL')) return codes;
    }
  }).finally(() => (isWriting = false));
}

/** A device that fails a sync, in a simulated world. */
async function afterFailedSync(): Promise<readonly string[]> {
  const world = World.create({ seed: 1 });
  world.installFile('/os.raw', noise(1, 65_536));
  await createStore({ path: '/store' }, world.parts());
  const made = await openStore({ path: '/store' }, world.parts());
  await made.createVirtualMachine({ name: 'web1', disks: [{ role: 'os', external: '/os.raw' }] });
  await made.close();
  const counted = await openStore({ path: '/store' }, world.parts());
  const { syncs } = world.counts();
  await counted.close();
  world.plan([{ kind: 'failSync', at: syncs }]);
  const failing = await openStore({ path: '/store' }, world.parts());
  const codes = [...(await refused(failing.capture('web1'))), ...(await refused(failing.capture('web1')))];
  await failing.close();
  return codes;
}

async function beyondTheLimit(): Promise<readonly string[]> {
  const world = World.create({ seed: 1 });
  const engine = memoryEngine({ clock: world.clock });
  engine.setSource('/os.raw', noise(1, 512));
  const parts = { ...world.parts(), engine };
  await createStore({ path: '/store' }, parts);
  const store = await openStore({ path: '/store' }, parts);
  await store.createVirtualMachine({ name: 'web1', disks: [{ role: 'os', external: '/os.raw' }] });
  for (let point = 0; point < 500; point += 1) await store.capture('web1', { name: `p${point}` });
  const codes = await refused(store.capture('web1'));
  await store.close();
  return codes;
}

/** Makes calls on a store with live disks. */
function live(provoke: (world: LiveStore) => Promise<readonly string[]>): Provoke {
  return async () => {
    const world = await liveStore();
    const codes = await provoke(world);
    world.onStep = () => undefined;
    await world.store.close();
    return codes;
  };
}

/** What opening a store with live disks again finds. */
async function reopened({ store, storePath, parts }: LiveStore): Promise<string[]> {
  await store.close();
  const again = await openStore({ path: storePath }, parts);
  await again.close();
  return again.findings.map(({ code }) => code);
}

/** Lists the machines over the control socket of a store. */
async function listOver(storePath: string): Promise<unknown> {
  const running = { signal: new AbortController().signal, onProgress: (): void => undefined };
  return (await serverOf(storePath, running.signal))?.call(running, 'vm.list', {});
}

/** The codes of a call to a server that takes so many clients. */
async function fromServer(store: Store, storePath: string, clientsMax: number): Promise<string[]> {
  const clock = commandClock;
  const server = await ControlServer.listen({ store, storePath, library, clock, takes: 'all', clientsMax });
  const codes = await refused(listOver(storePath));
  await server.close(0);
  return codes;
}

/** A call of the shared store with nothing in the PATH but this program for qemu-img, or not even that. */
function withQemuImg(program: string | null, call: (shared: SharedStore) => Promise<unknown>): Provoke {
  return async (shared) => {
    const folder = temporaryFolder();
    if (program !== null) writeFileSync(path.join(folder, 'qemu-img'), program, { mode: 0o755 });
    const before = process.env['PATH'];
    process.env['PATH'] = folder;
    try {
      return await refused(call(shared));
    } finally {
      process.env['PATH'] = before;
    }
  };
}

function toQcow2({ at }: SharedStore): Parameters<Store['restore']> {
  return ['web1/default/first', { disk: 'os', to: at('os.qcow2'), format: 'qcow2' }];
}

/** Every code with what provokes it. */
export const provocations: Readonly<Record<ErrorCode, Provoke | OutOfReach>> = {
  ARGUMENT_INVALID: call((open) => open.read('web1/first', { disk: 'os', offset: 1 << 30, length: 1 })),
  CANCELLED: call((open) => open.capture('web1', { signal: AbortSignal.abort() })),
  CAPTURE_IN_PROGRESS: async () => {
    const { path: storePath } = await smallStore();
    return withOpen(storePath, (open) => refused(open.capture('web1'), open.capture('web1')));
  },
  CATALOG_DAMAGED: after((copy) => damage([`${copy}/catalog.slot-a`, `${copy}/catalog.slot-b`])),
  CHUNK_DAMAGED: after((copy) => damage(packs(copy, '.chunks'), 0.1)),
  CHUNK_MISSING: after((copy) => remove(packs(copy, '.chunks'))),
  COLLECTION_NOT_FOUND: call((open) => open.restorePoint('web1/weekly/first')),
  DISKS_DIFFER: live(async ({ store }) => {
    await (await store.disk('two')).attach('db');
    return refused(store.restoreInPlace('db/first'));
  }),
  DISK_ATTACHED: live(async ({ store }) => refused((await store.disk('one')).delete())),
  DISK_BUSY: live(async ({ store }) => {
    const disk = await store.disk('two');
    return refused(disk.attach('db'), disk.delete());
  }),
  DISK_EXPORTED: async () => {
    const folder = temporaryFolder();
    await createStore({ path: path.join(folder, 'store') });
    await using store = await openStore({ path: path.join(folder, 'store') });
    const disk = await store.createDisk({ name: 'one', sizeBytes: 8192 });
    await store.createVirtualMachine({ name: 'db', disks: { os: 'one' } });
    await store.capture('db', { name: 'first' });
    const unix = path.join(folder, 'nbd.sock');
    await store.serveNbd({ listen: [{ unix }] });
    const client = await NbdClient.open({ unix }, 'one');
    const codes = await refused(store.restoreInPlace('db/first'));
    await disk.detach();
    codes.push(...(await refused(disk.delete())));
    client.vanish();
    return codes;
  },
  DISK_DETACHED: live(async ({ store }) => refused((await store.disk('two')).detach())),
  DISK_EXISTS: async ({ open }) => {
    await open.createVirtualMachine({ name: 'a', disks: [{ role: 'b-c', external: '/images/a.raw' }] });
    const codes = refused(
      open.createVirtualMachine({ name: 'a-b', disks: [{ role: 'c', external: '/images/a.raw' }] }),
    );
    await open.deleteVirtualMachine('a');
    return codes;
  },
  DISK_LOST: live(async (world) => {
    world.engine.loseDisk(world.storePath, (await world.store.disk('two')).id);
    return reopened(world);
  }),
  DISK_NOT_FOUND: call((open) => open.capture('web1', { exclude: ['swap'] })),
  FILE_SYSTEM_UNSUPPORTED: { because: 'a managed disk or machine is made in a store on a network file system' },
  IMAGE_CONVERSION_FAILED: withQemuImg('#!/bin/sh\necho no >&2\nexit 1\n', (shared) =>
    shared.open.restore(...toQcow2(shared)),
  ),
  IMAGE_UNSUPPORTED: async ({ open, at }) => {
    const header = Buffer.alloc(4096);
    header.write('QFI\u00fb', 'latin1');
    header.writeUInt32BE(3, 4);
    header.writeBigUInt64BE(512n, 8); // where the name of the backing file stands
    writeFileSync(at('backed.qcow2'), header);
    return refused(open.importDisk({ name: 'backed', path: at('backed.qcow2') }));
  },
  INDEX_DAMAGED: after((copy) => damage(filesIn(`${copy}/home/index`, '.segment'), 0.99)),
  INTERNAL: { because: 'something that cannot happen did: a defect of Stillpoint' },
  IO_FAILED: captureOf(({ at }) => {
    symlinkSync('round.raw', at('round.raw'));
    return at('round.raw');
  }),
  LAYERS_FULL: live(async (world) => {
    world.onStep = (step) => {
      if (step === 'copy-before') throw new StillpointError('NO_SPACE', 'the disk is full');
    };
    for (let count = 0; count < 8; count += 1) await world.store.capture('db');
    return refused(world.store.capture('db'));
  }),
  LOG_DAMAGED: live(async (world) => {
    world.onStep = (step) => {
      if (step === 'cut-before') throw new StillpointError('LOG_DAMAGED', 'a record fails its checksum');
    };
    return refused(world.store.capture('db'));
  }),
  LOG_FENCED: live(async (world) => {
    world.onStep = (step) => {
      if (step === 'durable-before') throw new StillpointError('LOG_FENCED', 'a sync failed');
    };
    return refused(world.store.capture('db'));
  }),
  LOG_UNAVAILABLE: live(async (world) => {
    const { id } = await world.store.virtualMachine('db');
    world.engine.failLog(world.storePath, id, 'IO_FAILED');
    await world.store.close();
    const again = await openStore({ path: world.storePath }, world.parts);
    const codes = await refused(again.capture('db'));
    await again.close();
    return [...codes, ...again.findings.map(({ code }) => code)];
  }),
  MACHINE_BUSY: live(async (world) => {
    const { store } = world;
    await store.deletePoint('db/first');
    const codes: string[] = [];
    world.onStep = async (step) => {
      if (step === 'detach-before') codes.push(...(await refused(store.updateVirtualMachine('db', {}))));
    };
    await store.deleteVirtualMachine('db');
    return codes;
  }),
  MACHINE_EXISTS: call((open) => open.createVirtualMachine({ name: 'WEB1', disks: [{ role: 'os', external: '/a' }] })),
  MACHINE_NOT_EMPTY: call((open) => open.deleteVirtualMachine('web1')),
  MACHINE_NOT_FOUND: call((open) => open.capture('web2')),
  MACHINE_NOT_MANAGED: call((open) => open.restoreInPlace('web1/first')),
  MANIFEST_DAMAGED: after((copy) => damage([firstManifest(copy)])),
  MANIFEST_UNKNOWN: async (shared) => {
    const copy = copyOf(shared);
    const file = firstManifest(copy);
    const bytes = readFileSync(file);
    await withOpen(copy, (open) => open.deletePoint('web1/first'));
    writeFileSync(file, bytes);
    return foundAndRead(copy);
  },
  MOMENT_NOT_KEPT: live(({ store }) =>
    refused(store.restoreToDisk('db', { disk: 'os', name: 'x', at: { lsn: '999' } })),
  ),
  NAME_AMBIGUOUS: call((open) => open.restorePoint('web1/twice')),
  NAME_INVALID: call((open) => open.capture('web1', { name: '.hidden' })),
  NODE_DAMAGED: after((copy) => damage(packs(copy, '.nodes'), 0.3)),
  NODE_MISSING: after((copy) => remove(packs(copy, '.nodes'))),
  // A file that may not grow any more is as full as a disk, and needs no rights to be had.
  NO_SPACE: async (shared) => {
    const to = shared.at('limited.raw');
    const words = ['--store', copyOf(shared), '--json', 'restore', 'web1/first', '--disk', 'os', '--to', to];
    const code = codeOf(await runCommand(words, { fileBlocksMax: 256 }));
    return code === null ? [] : [code];
  },
  NO_WRITERS: call((open) => open.capture('web1', { consistency: 'applicationConsistent' })),
  // Nobody, not even root, makes a file there.
  PERMISSION_DENIED: call((open) => restore(open, '/sys/stillpoint.raw')),
  POINT_BUSY: async (shared) =>
    withOpen(copyOf(shared), (open) => refused(open.deletePoint('web1/first'), open.deletePoint('web1/first'))),
  POINT_EXISTS: call((open) => open.capture('web1', { name: 'First' })),
  POINT_HELD: live(async ({ store }) => {
    await store.holdPoint('db/first', 'audit');
    return refused(store.deletePoint('db/first'));
  }),
  POINT_LIMIT_REACHED: beyondTheLimit,
  POINT_NOT_FOUND: call((open) => open.restorePoint('web1/second')),
  QEMU_IMG_MISSING: withQemuImg(null, (shared) => shared.open.restore(...toQcow2(shared))),
  RESTORE_POINT_LOST: after((copy) => remove([firstManifest(copy)])),
  RESTORE_POINT_RETURNED: async (shared) => {
    const copy = copyOf(shared);
    const file = firstManifest(copy);
    renameSync(file, `${copy}/aside`);
    await withOpen(copy, () => Promise.resolve());
    renameSync(`${copy}/aside`, file);
    return foundAndRead(copy);
  },
  SERVER_BUSY: ({ open, path: storePath }) => fromServer(open, storePath, 0),
  SERVER_LOST: async (shared) => {
    const copy = copyOf(shared);
    const hello = { version: 1, pid: 1, storeId: '', mountNamespace: null, takes: 'all' };
    const server = createServer((socket) => {
      socket.once('data', () =>
        socket.write(`${JSON.stringify({ hello })}\n`, () => socket.once('data', () => socket.end())),
      );
    });
    await new Promise<void>((resolve) => server.listen(socketPathOf(copy), resolve));
    const codes = await refused(listOver(copy));
    server.close();
    return codes;
  },
  SOURCE_CHANGED: slow,
  SOURCE_NOT_A_DISK: captureOf(({ folder }) => folder),
  SOURCE_NOT_EXCLUSIVE: captureOf(() => deviceOf(smallFileSystem('ext4', 1 << 20))),
  SOURCE_NOT_FOUND: captureOf(({ at }) => at('gone.raw')),
  SOURCE_NOT_STILL: neverStill,
  SOURCE_SIZE_INVALID: captureOf(async ({ at }) => {
    await writeStill(at('cut-off.raw'), new Uint8Array(700));
    return at('cut-off.raw');
  }),
  STORE_BUSY: { because: 'it comes only to programs that use the engine interface themselves' },
  STORE_CLOSED: async (shared) => {
    const store = await openStore({ path: copyOf(shared), readOnly: true });
    await store.close();
    return refused(store.restorePoints());
  },
  STORE_DAMAGED: async (shared) => {
    const copy = copyOf(shared);
    const config = readFileSync(`${copy}/config`);
    for (const at of [100, 4196]) config[at] = (config[at] ?? 0) ^ 1;
    writeFileSync(`${copy}/config`, config);
    return refused(openStore({ path: copy }));
  },
  STORE_EXISTS: ({ path: storePath }) => refused(createStore({ path: storePath })),
  STORE_FENCED: afterFailedSync,
  STORE_LOCKED: ({ path: storePath }) => refused(openStore({ path: storePath })),
  STORE_NEWER_FORMAT: async (shared) => {
    const copy = copyOf(shared);
    await changeConfigVersion(`${copy}/config`, [0, 1], 2);
    return refused(openStore({ path: copy }));
  },
  STORE_NOT_FOUND: ({ folder }) => refused(openStore({ path: folder })),
  STORE_READ_ONLY: async (shared) => {
    const store = await openStore({ path: shared.path, readOnly: true });
    const codes = await refused(store.capture('web1'));
    await store.close();
    return codes;
  },
  TARGET_EXISTS: call((open, { image }) => restore(open, image)),
  TARGET_INVALID: call((open, { folder }) => restore(open, folder)),
  TARGET_TOO_SMALL: call((open, { at }) => {
    writeFileSync(at('small.raw'), 'small');
    return restore(open, at('small.raw'), true);
  }),
  UNCLEAN_STOP: live(async (world) => {
    await (await world.store.disk('one')).write(0, new Uint8Array(512));
    world.engine.crash('powerCut');
    await world.store.close().catch(() => undefined);
    return reopened(world);
  }),
  WORK_INTERRUPTED: slow,
};
