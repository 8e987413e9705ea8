/** A flush on one connection covers what other connections were answered before, whatever disk of the machine they write. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { openStore } from '../../src/index.js';
import { requireTool } from '../house/tools.js';
import { ServingProcess } from './nbd-process.js';
import { makeStore, MiB, python, uriOf } from './nbd-stage.js';

const nbdsh = requireTool('nbdsh');

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'stillpoint-nbd-crash-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe.skipIf(nbdsh.isMissing)('a serving process that is killed', () => {
  it.each([
    ['a flush on one of them', 'clients[-1].flush()'],
    ['a write with FUA on one of them', 'clients[-1].pwrite(bytes([9]) * 4096, 31 * 1024 * 1024, nbd.CMD_FLAG_FUA)'],
  ])('has lost nothing that several connections wrote before %s', async (_what, last) => {
    const [storePath, socket] = [path.join(folder, 'store'), path.join(folder, 'nbd.sock')];
    await makeStore(storePath, { os: 32 * MiB, log: 32 * MiB });
    const serving = await ServingProcess.start(storePath, socket);
    await python(
      nbdsh,
      `
uris = ['${uriOf(socket, 'os')}', '${uriOf(socket, 'log')}']
clients = []
for index in range(8):
    client = nbd.NBD()
    client.connect_uri(uris[index % 2])
    clients.append(client)
for round in range(16):
    for index, client in enumerate(clients):
        client.pwrite(bytes([1 + index + round * 8]) * 4096, (index * 16 + round) * 4096)
${last}
`,
    );
    await serving.kill();

    const store = await openStore({ path: storePath });
    for (const [side, name] of ['os', 'log'].entries()) {
      const bytes = await (await store.disk(name)).read(0, 8 * 16 * 4096);
      for (let index = side; index < 8; index += 2) {
        for (let round = 0; round < 16; round += 1) {
          const at = (index * 16 + round) * 4096;
          expect([name, at, bytes[at], bytes[at + 4095]]).toEqual([
            name,
            at,
            1 + index + round * 8,
            1 + index + round * 8,
          ]);
        }
      }
    }
    await store.close();
  });
});
