/** Patterns of qemu-io: what it wrote, zeroed and discarded is what it reads, and what the store has. */

import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { seededRandom } from '../../src/testing/index.js';
import { testSeed } from '../house/seed.js';
import { requireTool } from '../house/tools.js';
import { KiB, MiB, ServedStage } from './nbd-stage.js';
import { run } from './stage.js';

const qemuIo = requireTool('qemu-io');
const sizeBytes = 16 * MiB;

let stage: ServedStage;
beforeAll(async () => {
  stage = await ServedStage.make({ os: sizeBytes, checked: sizeBytes });
});
afterAll(() => stage.end());

describe.skipIf(qemuIo.isMissing)('qemu-io', () => {
  const io = (name: string, ...commands: readonly string[]): Promise<string> =>
    run(qemuIo, '-f', 'raw', '-t', 'none', '-d', 'unmap', ...commands.flatMap((each) => ['-c', each]), stage.uri(name));

  it('reads the patterns that it wrote, zeroed and discarded', async () => {
    const said = await io(
      'os',
      'write -P 0xab 0 1M',
      'write -z 64k 64k',
      'read -P 0xab 0 64k',
      'read -P 0 64k 64k',
      'read -P 0xab 128k 896k',
      'write -z -u 256k 64k',
      'read -P 0 256k 64k',
      'discard 512k 64k',
      'read -P 0 512k 64k',
      'write -f -P 1 1M 4k',
      'read -P 1 1M 4k',
      'write -P 2 1047000 1000',
      'read -P 2 1047000 1000',
      'read -P 0xab 1046500 500',
      'flush',
    );

    expect(said).not.toMatch(/verification failed|error/i);
    const bytes = await (await stage.store.disk('os')).read(0, 2 * MiB);
    expect([bytes[0], bytes[64 * KiB], bytes[128 * KiB], bytes[300 * KiB], bytes[512 * KiB]]).toEqual([
      0xab, 0, 0xab, 0, 0,
    ]);
    expect([bytes[1_047_000], bytes[MiB], bytes[MiB + 4 * KiB]]).toEqual([2, 1, 0]);
  });

  it('may open a point to read only', async () => {
    await stage.captured('kept');

    await expect(io('vm/kept/os', 'write -P 7 0 4k')).rejects.toThrow('Permission denied');
    expect(await run(qemuIo, '-r', '-f', 'raw', '-c', 'read -P 0xab 0 4k', stage.uri('vm/kept/os'))).toContain(
      'read 4096',
    );
  });

  it('sees no difference to a plain file (blkverify) over hundreds of reads and writes', async () => {
    const random = seededRandom(testSeed);
    const below = (limit: number): number => random.bytes(4).reduce((value, byte) => value * 256 + byte, 0) % limit;
    const commands = Array.from({ length: 400 }, (_, index) => {
      const at = below(sizeBytes / 512 - 600) * 512;
      const length = (1 + below(500)) * 512;
      return index % 3 === 2
        ? `read ${at} ${length}`
        : `write ${index % 7 === 0 ? '-f ' : ''}-P ${below(256)} ${at} ${length}`;
    });
    const reference = stage.at('reference.raw');
    await writeFile(reference, Buffer.alloc(sizeBytes));
    const options =
      `driver=blkverify,test.driver=nbd,test.server.type=unix,test.server.path=${stage.socket},test.export=checked,` +
      `raw.driver=file,raw.filename=${reference}`;

    await run(qemuIo, '--image-opts', options, ...commands.flatMap((each) => ['-c', each]), '-c', 'flush');

    const disk = await stage.store.disk('checked');
    expect(Buffer.from(await disk.read(0, sizeBytes)).equals(await readFile(reference))).toBe(true);
  });
});
