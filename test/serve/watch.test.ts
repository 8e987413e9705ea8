/** `status --watch` draws over what it drew, and ends quietly. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { requireTool } from '../house/tools.js';
import { main, Place } from './server.js';

const script = requireTool('script');
let place: Place;

beforeEach(async () => {
  place = new Place();
  await place.make();
});

afterEach(async () => {
  await place.remove();
});

describe('status --watch', () => {
  it('prints an object a line with --json, in process and from a server', async () => {
    const watch = place.type('status --watch --interval 1 --json');
    await watch.until(() => (watch.out.split('\n').length > 2 ? true : null));
    expect(JSON.parse(watch.out.split('\n')[0] ?? '')).toMatchObject({ readOnly: true, server: null, machines: 1 });
    const server = await place.serve();
    await watch.until(() => (watch.out.includes(`"server":{"pid":${String(server.child.pid)}}`) ? true : null));
    watch.child.kill('SIGINT');
    expect(await watch.ended).toMatchObject({ code: 0, err: '' });
    for (const line of watch.out.trimEnd().split('\n')) expect(JSON.parse(line)).toMatchObject({ path: place.store });
  });

  it('takes no lock, so that commands go on beside it', async () => {
    const watch = place.type('status --watch --interval 1');
    await watch.until(() => (watch.out.includes('store id') ? true : null));
    for (let round = 0; round < 4; round += 1) await place.done(`capture web1 --name p${round}`);
    watch.child.kill('SIGTERM');
    expect(await watch.ended).toMatchObject({ code: 0, err: '' });
    expect(watch.out).not.toContain('\u001b');
  });

  it.skipIf(script.isMissing)('draws in one place on a terminal, and leaves the last look there', async () => {
    await place.serve();
    const line = `stty rows 8 cols 60; exec '${process.execPath}' '${main}' status --watch --interval 1`;
    const watch = place.start(script.path, ['-qec', line, '/dev/null']);
    await watch.until(() => (watch.out.split('\u001b[H').length > 3 ? true : null));
    watch.child.kill('SIGTERM');
    await watch.ended;
    const [before = '', ...frames] = watch.out.split('\u001b[H');
    expect(before).toContain('\u001b[?1049h');
    for (const frame of frames.slice(0, 2)) {
      expect(frame.split('\r\n').length).toBeLessThanOrEqual(8);
      expect(frame).toContain('every 1 s');
    }
  });
});
