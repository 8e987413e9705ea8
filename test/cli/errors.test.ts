/** Every failure ends in one message with a code, what to do, and the exit code of docs/cli.md. */

import { describe, expect, test } from 'vitest';
import { errorTable, StillpointError, type ErrorCode } from '../../src/store/errors.js';
import { errorText, reportOf } from '../../src/cli/errors.js';
import { Interruption } from '../../src/cli/shell.js';
import { FakeUser, userWithPoints } from './fake-shell.js';

const running = new AbortController().signal;
const style = { colour: false, columns: 80, zoneOffsetMinutes: () => 0 };

describe('a wrong command line', () => {
  test.each([
    ['frobnicate', "unknown command 'frobnicate'"],
    ['capture', "missing required argument 'vm'"],
    ['list web1 web2', "too many arguments for 'list'. Expected 1 argument but got 2."],
    ['diff a/1 a/2 --dsik os', "unknown option '--dsik' (Did you mean --disk?)"],
    ['restore web1/rp1', "required option '--to <path>' or '--to-directory <dir>' not specified"],
    ['portable-restore web1/rp1', "required option '--to <path>' or '--to-directory <dir>' not specified"],
    [
      'restore web1/rp1 --to a.raw --to-directory out',
      "option '--to <path>' cannot be used with option '--to-directory <dir>'",
    ],
    [
      'restore web1/rp1 --to a.raw --disk os --disk data',
      "option '--to <path>' is for one disk; use --to-directory for several",
    ],
    ['portable-restore web1/rp1 --to x', 'web1/default/rp1 has 2 disks; name one with --disk'],
    ['portable-restore', "missing required argument 'point'"],
    ['vm create web2', "required option '--external <role=path>' or '--disk <role=path>' not specified"],
    ['vm create web2 --external os=/a --disk data=/b', 'cannot be used with option'],
    ['restore web1/rp1 --to-disk a --in-place', 'cannot be used with option'],
    ['restore web1/rp1 --to-vm a --disk os', '--disk does not go with it'],
    ['restore web1 --at yesterday --to-disk a', 'A moment is an LSN, as digits, or a time'],
    ['hold web1/rp1', "required option '--reason <text>' or '--release' not specified"],
    ['hold web1/rp1 --reason a --release', 'cannot be used with option'],
    ['disk create a', "required option '--size <size>' not specified"],
    ['disk create a --size 1.5', 'A size is a number of bytes'],
    ['vm create web2 --external os', 'A disk is named ROLE=PATH, for example os=/images/os.raw.'],
    ['vm create web2 --external os=/a --external OS=/b', 'the role OS is given twice'],
    ['vm update web1', 'nothing to change in web1'],
    ['vm update web1 --config missing.json', 'cannot read the configuration'],
    ['init --chunk-size 128KiB', 'Choose 16KiB, 64KiB, 256KiB or 1MiB.'],
    ['init --chunk-size much', 'A size is a number of bytes, or one with KiB, MiB, GiB or TiB.'],
    ['init --level 20', 'It is a whole number from 1 to 19.'],
    ['init --compression lzma', 'Allowed choices are zstd, lz4, none.'],
    ['diff a/1 a/2 --granularity 1000', 'A granularity is a power of two from 512 to the chunk size.'],
    ['capture web1 --consistency best', 'Allowed choices are crash, file-system, application.'],
    ['bench', "required option '--images <path...>' not specified"],
    ['completion tcsh', 'Allowed choices are bash, zsh, fish.'],
    ['diff web1/rp1 web1/rp2', 'web1/default/rp2 has 2 disks; name one with --disk'],
  ])('%s: exit code 2 and ARGUMENT_INVALID', async (line, message) => {
    const user = await userWithPoints();
    const plain = await user.type(line);
    expect({ code: plain.code, out: plain.out }).toEqual({ code: 2, out: '' });
    expect(plain.err).toContain(message);
    const json = await user.type(`${line} --json`);
    expect({ code: json.code, out: json.out }).toEqual({ code: 2, out: '' });
    const { error } = JSON.parse(json.err) as { error: Record<string, unknown> };
    expect(error).toMatchObject({ code: 'ARGUMENT_INVALID', message: expect.stringContaining(message) });
    expect(Object.keys(error)).toEqual(['code', 'message', 'action', 'context']);
  });

  test('without a command is answered with the help, on stderr', async () => {
    const plain = await new FakeUser().run([]);
    expect({ code: plain.code, out: plain.out }).toEqual({ code: 2, out: '' });
    expect(plain.err).toContain('Usage: stillpoint [options] [command]');
    const json = await new FakeUser().run(['vm', '--json']);
    expect(json.code).toBe(2);
    expect(JSON.parse(json.err)).toMatchObject({ error: { message: 'no command was given' } });
  });

  test('says which help has the answer', async () => {
    const { err } = await new FakeUser().type('vm show');
    expect(err).toMatchInlineSnapshot(`
      "error: missing required argument 'vm' (ARGUMENT_INVALID)
        Run 'stillpoint vm show --help' to see how it is used.
      "
    `);
  });
});

describe('an error of the library', () => {
  test('of any code but two ends with 1 and keeps its code and action', () => {
    for (const code of Object.keys(errorTable) as ErrorCode[]) {
      const report = reportOf(new StillpointError(code, 'it failed'), running);
      expect(report).toMatchObject({ code, action: errorTable[code].action });
      expect(report.exitCode).toBe(code === 'ARGUMENT_INVALID' ? 2 : 1);
    }
  });

  test('of a class of its own keeps its code too', () => {
    const error = Object.assign(new Error('a chunk is damaged'), {
      code: 'CHUNK_DAMAGED',
      context: { file: 'a.chunks' },
    });
    expect(reportOf(error, running)).toMatchObject({
      code: 'CHUNK_DAMAGED',
      context: { file: 'a.chunks' },
      exitCode: 1,
    });
  });

  test('that lists candidates prints them', async () => {
    const user = await userWithPoints();
    await user.type('capture web1 --collection daily --name rp1');
    const { code, err } = await user.type('restore web1/rp1 --disk os --to x.raw');
    expect(code).toBe(1);
    expect(err).toMatchInlineSnapshot(`
      "error: web1/rp1 names 2 restore points (NAME_AMBIGUOUS)
        Name the collection too: VM/COLLECTION/POINT.
        candidates: web1/default/rp1, web1/daily/rp1
      "
    `);
    const json = await user.type('show web1/rp1 --json');
    expect(JSON.parse(json.err)).toMatchObject({
      error: { code: 'NAME_AMBIGUOUS', context: { candidates: ['web1/default/rp1', 'web1/daily/rp1'] } },
    });
  });

  test('prints context that its message does not have, one line for each', () => {
    const error = new StillpointError('TARGET_TOO_SMALL', '/dev/vdb is too small for disk os', {
      path: '/dev/vdb',
      sizeBytes: 8 * 1024 ** 3,
      targetBytes: 4 * 1024 ** 3,
      points: Array.from({ length: 4 }, (_, index) => `machine-with-a-long-name/collection/point-${index}`),
    });
    expect(errorText(reportOf(error, running), style, false)).toMatchInlineSnapshot(`
      "error: /dev/vdb is too small for disk os (TARGET_TOO_SMALL)
        Use a target at least as large as the disk.
        size: 8.0 GiB (8589934592 bytes)
        target: 4.0 GiB (4294967296 bytes)
        points: machine-with-a-long-name/collection/point-0
                machine-with-a-long-name/collection/point-1
                machine-with-a-long-name/collection/point-2
                machine-with-a-long-name/collection/point-3
      "
    `);
  });
});

describe('anything else that is thrown', () => {
  test('is INTERNAL with its message; its stack is printed only for debugging', async () => {
    const user = await userWithPoints();
    user.world.failure = new TypeError('x is not a function');
    const { code, err } = await user.type('verify');
    expect(code).toBe(1);
    expect(err).toMatchInlineSnapshot(`
      "error: x is not a function (INTERNAL)
        This is a defect; report it with the message and the command.
      "
    `);
    const environment = { STILLPOINT_STORE: '/backup/store', STILLPOINT_DEBUG: '1' };
    expect((await user.type('verify', { environment })).err).toMatch(/\n\nTypeError: x is not a function\n +at /u);
  });

  test('by the operating system has the code of its kind', () => {
    const refusal = (code: string): Error =>
      Object.assign(new Error(`${code}: no, open '/x'`), { code, syscall: 'open', path: '/x' });
    const codeOf = (code: string): string => reportOf(refusal(code), running).code;
    expect(['ENOSPC', 'EACCES', 'EROFS', 'EMFILE'].map(codeOf)).toEqual([
      'NO_SPACE',
      'PERMISSION_DENIED',
      'PERMISSION_DENIED',
      'IO_FAILED',
    ]);
    expect(reportOf(refusal('EMFILE'), running)).toMatchObject({ context: { path: '/x' }, exitCode: 1 });
  });

  test('that is no error is told as it is', () => {
    expect(reportOf('a text', running)).toMatchObject({ code: 'INTERNAL', message: 'a text', exitCode: 1 });
  });
});

describe('a command that was asked to end', () => {
  test('ends with the exit code of the signal', () => {
    const controller = new AbortController();
    controller.abort(new Interruption('SIGTERM'));
    const error = new StillpointError('CANCELLED', 'the capture was cancelled');
    expect(reportOf(error, controller.signal).exitCode).toBe(143);
    expect(reportOf(controller.signal.reason, controller.signal)).toMatchObject({ code: 'CANCELLED', exitCode: 143 });
    expect(reportOf(new DOMException('aborted', 'AbortError'), controller.signal).code).toBe('CANCELLED');
    expect(reportOf(error, running).exitCode).toBe(1);
  });

  test('before it began opens no store', async () => {
    const user = await userWithPoints();
    user.world.openings.length = 0;
    const controller = new AbortController();
    controller.abort(new Interruption('SIGINT'));
    const { code } = await user.type('capture web1', { signal: controller.signal });
    expect({ code, openings: user.world.openings }).toEqual({ code: 130, openings: [] });
  });
});
