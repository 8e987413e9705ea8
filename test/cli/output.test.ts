/** What goes to which stream, and when: pipes, terminals, colours, progress. */

import { describe, expect, test } from 'vitest';
import { StillpointError } from '../../src/store/errors.js';
import { progressLine } from '../../src/cli/progress.js';
import { Interruption } from '../../src/cli/shell.js';
import { ClosingStream, FullStream, KeepingStream, userWithPoints } from './fake-shell.js';

const escape = '\u001b[';

describe('in a pipe', () => {
  test('long commands print nothing but their result', async () => {
    const user = await userWithPoints();
    const { err, out } = await user.type('restore web1/rp1 --disk os --to a.raw');
    expect(err).toBe('');
    expect(out).not.toContain(escape);
  });

  test('a diff of many extents is written in pieces of bounded size', async () => {
    const user = await userWithPoints();
    user.world.extents = Array.from({ length: 50_000 }, (_, index) => ({
      offset: index * 131_072,
      length: 65_536,
      kind: 'data' as const,
    }));
    const stdout = new KeepingStream();
    const { code } = await user.type('diff web1/rp1 web1/rp2 --disk os --json', { stdout });
    expect(code).toBe(0);
    expect(stdout.text.length).toBeGreaterThan(1_000_000);
    expect(stdout.longestWrite).toBeLessThan(70_000);
    expect(JSON.parse(stdout.text)).toMatchObject({ granularity: 65_536 });
  });

  test('a reader that goes away ends the command quietly', async () => {
    const user = await userWithPoints();
    for (const line of ['list', 'list --json', 'show web1', 'diff web1/rp1 web1/rp2 --disk os', '--help']) {
      const stderr = new KeepingStream();
      const { code } = await user.type(line, { stdout: new ClosingStream(0), stderr });
      expect({ line, code, err: stderr.text }).toEqual({ line, code: 0, err: '' });
    }
  });

  test('an error is not lost on a stderr that nobody reads', async () => {
    const user = await userWithPoints();
    const { code } = await user.type('show nobody', { stderr: new ClosingStream(0) });
    expect(code).toBe(1);
  });
});

describe('on a terminal', () => {
  test('a progress line is shown after a moment, and removed', async () => {
    const user = await userWithPoints();
    const stderr = new KeepingStream(true);
    const controller = new AbortController();
    user.world.hangs = true;
    user.world.onHang = () => {
      setTimeout(() => controller.abort(new Interruption('SIGINT')), 150);
    };
    // The fake clock stands still; this one has the command run for longer than the delay.
    let nowMs = 0;
    const clock = { nowMs: () => 0, monotonicMs: () => (nowMs += 300) };
    const shell = { ...user.shell({ stderr, signal: controller.signal }), clock };
    const { run } = await import('../../src/cli/run.js');
    await import('cli-progress'); // what the command loads on demand; a busy machine takes longer than the moment above
    const code = await run(['capture', 'web1'], shell);
    expect(code).toBe(130);
    expect(stderr.text).toContain('capture web1');
    expect(stderr.text).toContain('6.0 GiB of 12.0 GiB');
    expect(stderr.text).toContain('ending capture web1 (Ctrl-C again to kill)');
    const last = stderr.text.slice(stderr.text.lastIndexOf('(Ctrl-C again to kill)'));
    expect(last).toContain('the call was cancelled');
  });

  test('--quiet shows none', async () => {
    const user = await userWithPoints();
    const stderr = new KeepingStream(true);
    const code = (await user.type('verify --read-data --quiet', { stderr })).code;
    expect({ code, text: stderr.text }).toEqual({ code: 0, text: '' });
  });

  test('there are colours, unless NO_COLOR is set', async () => {
    const user = await userWithPoints();
    const text = async (environment: Record<string, string>): Promise<string> => {
      const stdout = new KeepingStream(true);
      await user.type('list', { stdout, environment: { STILLPOINT_STORE: '/backup/store', ...environment } });
      return stdout.text;
    };
    expect(await text({})).toContain(escape);
    expect(await text({ NO_COLOR: '1' })).not.toContain(escape);
    expect(await text({ TERM: 'dumb' })).not.toContain(escape);
  });
});

describe('the progress line', () => {
  const view = {
    task: 'capture web1',
    doneBytes: 3 * 1024 ** 3,
    totalBytes: 4 * 1024 ** 3,
    bytesPerSecond: 512 * 1024 ** 2,
  };

  test.each([
    [100, 'capture web1  #######################.......  75%      3.0 GiB of 4.0 GiB   512.0 MiB/s  0:02 left'],
    [70, 'capture web1  75%      3.0 GiB of 4.0 GiB   512.0 MiB/s  0:02 left'],
    [20, 'capture web1  75%  '],
  ])('fits into %i columns', (columns, line) => {
    expect(progressLine(view, columns, ['#', '.'])).toBe(line);
    expect(line.length).toBeLessThan(columns);
  });

  test('shows the task alone while the total is not known', () => {
    expect(progressLine({ ...view, totalBytes: 0 }, 80, ['#', '.'])).toBe('capture web1');
  });

  test('does not show more than everything when the total was too low', () => {
    expect(progressLine({ ...view, doneBytes: 5 * 1024 ** 3 }, 100, ['#', '.'])).toContain('100%');
  });

  test('promises no time once the last byte is done', () => {
    const line = progressLine({ ...view, doneBytes: view.totalBytes, bytesPerSecond: 0 }, 100, ['#', '.']);
    expect(line).toMatch(/100%.* {2}finishing$/u);
  });
});

describe('times', () => {
  test('are local, with their zone', async () => {
    const user = await userWithPoints();
    const { out } = await user.type('list web1', { zoneOffsetMinutes: -210 });
    expect(out).toContain('2026-11-23 00:58:14 -03:30');
  });
});

describe('a stdout that cannot be written', () => {
  test('is an error with a code, not a defect', async () => {
    const user = await userWithPoints();
    const stdout = new FullStream();
    const { code, err } = await user.type('list', { stdout });
    expect(code).toBe(1);
    expect(err).toContain('error: cannot write the output: ENOSPC: no space left on device, write (NO_SPACE)\n');
  });
});

describe('a failure on the way', () => {
  test('leaves the progress line off the terminal and prints its error last', async () => {
    const user = await userWithPoints();
    user.world.failure = new StillpointError('IO_FAILED', 'cannot read /images/os.raw at 4096: EIO', { offset: 4096 });
    const stderr = new KeepingStream(true);
    const { code } = await user.type('capture web1', {
      stderr,
      environment: { STILLPOINT_STORE: '/backup/store', NO_COLOR: '1' },
    });
    expect(code).toBe(1);
    expect(stderr.text).toBe(
      'error: cannot read /images/os.raw at 4096: EIO (IO_FAILED)\n  The message has what the operating system said; for a failing device, look at the kernel log.\n',
    );
  });
});
