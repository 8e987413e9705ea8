/** fio writes at random over several connections and reads back what it wrote, checksum by checksum. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runs } from '../house/size.js';
import { requireTool } from '../house/tools.js';
import { MiB, ServedStage } from './nbd-stage.js';
import { run } from './stage.js';

const fio = requireTool('fio');
const jobs = 3;
const jobBytes = runs(8, 128) * MiB;

let stage: ServedStage;
beforeAll(async () => {
  stage = await ServedStage.make({ os: jobs * jobBytes });
});
afterAll(() => stage.end());

describe.skipIf(fio.isMissing)('fio', () => {
  const verified = (name: string, ...more: readonly string[]): Promise<string> =>
    run(
      fio,
      ...['--name=verified', '--ioengine=nbd', `--uri=${stage.uri(name)}`, '--thread', `--numjobs=${jobs}`],
      ...[`--size=${jobBytes}`, `--offset_increment=${jobBytes}`, '--bs=4k', '--iodepth=32'],
      ...['--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--randseed=1', ...more],
    );

  it('finds every block that it wrote, while points are captured and deleted', { timeout: 600_000 }, async () => {
    const over = new AbortController();
    const captures = (async () => {
      for (let index = 0; !over.signal.aborted; index += 1) {
        await stage.captured(`during-${index}`);
        await stage.store.deletePoint(`vm/during-${index}`);
      }
    })();
    const said = await verified('os', '--rw=randwrite', '--fsync=64').finally(() => {
      over.abort();
    });
    await captures;

    expect(said).not.toMatch(/verify:|err=(?!\s*0)/);
    expect(said).toMatch(/err= 0/);
  });

  it('finds them all again in a point and in its scratch copy', async () => {
    await stage.captured('after');
    for (const name of ['vm/after/os', 'scratch:vm/after/os']) {
      expect(await verified(name, '--rw=randwrite', '--verify_only'), name).not.toMatch(/verify:|err=(?!\s*0)/);
    }
  });

  it('mixes reads and writes of several sizes', async () => {
    const said = await verified('os', '--rw=randrw', '--bsrange=512-64k', '--bs_unaligned=0', '--verify_backlog=64');

    expect(said).not.toMatch(/verify:|err=(?!\s*0)/);
  });
});
