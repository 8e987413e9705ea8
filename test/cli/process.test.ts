/** The command as a process: signals, pipes that close, exit codes, how quickly it starts. */

import { type ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CompiledCli, ended } from './compiled-cli.js';

let cli: CompiledCli;

beforeAll(() => {
  cli = new CompiledCli();
});

afterAll(() => {
  cli.remove();
});

const wish = (wishes: object): Record<string, string> => ({ STILLPOINT_FAKE: JSON.stringify(wishes) });

/** Resolves when a long call of the process hangs. */
async function hanging(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve) => {
    child.stderr?.on('data', (part: Buffer) => {
      if (part.toString().includes('hanging')) resolve();
    });
  });
}

describe('a signal', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s ends the command with CANCELLED and exit code %i', async (signal, code) => {
    const child = cli.start(cli.fakeMain, ['capture', 'web1', '--json'], wish({ hangs: true }));
    const end = ended(child);
    await hanging(child);
    child.kill(signal);
    const { code: exitCode, out, err } = await end;
    expect(exitCode).toBe(code);
    expect(out).toBe('');
    expect(JSON.parse(err.replace('hanging\n', ''))).toMatchObject({ error: { code: 'CANCELLED' } });
  });

  test('the second one kills a command that does not end', async () => {
    const child = cli.start(cli.fakeMain, ['verify'], wish({ stubborn: true }));
    const end = ended(child);
    await hanging(child);
    child.kill('SIGINT');
    // The first has to be handled before the second comes, or the two are one.
    const repeat = setInterval(() => child.kill('SIGINT'), 50);
    const { signal } = await end;
    clearInterval(repeat);
    expect(signal).toBe('SIGINT');
  });
});

describe('a pipe', () => {
  test('whose reader closes early ends the command quietly with exit code 0', async () => {
    const child = cli.start(
      cli.fakeMain,
      ['diff', 'web1/rp1', 'web1/rp2', '--disk', 'os'],
      wish({ extents: 1_000_000 }),
    );
    const end = ended(child);
    child.stdout?.once('data', () => child.stdout?.destroy());
    const { code, err } = await end;
    expect(err).toBe('');
    expect(code).toBe(0);
  });

  test('gets a long diff whole, whatever its reader', async () => {
    const words = ['diff', 'web1/rp1', 'web1/rp2', '--disk', 'os', '--json'];
    const { code, out } = await cli.run(cli.fakeMain, words, wish({ extents: 20_000 }));
    expect(code).toBe(0);
    const diff = JSON.parse(out) as { extents: unknown[] };
    expect(diff.extents).toHaveLength(20_000);
  });
});

describe('the installed program', () => {
  test('prints its version and help', async () => {
    const version = await cli.run(cli.main, ['--version']);
    expect(version).toMatchObject({ code: 0, err: '' });
    expect(version.out).toMatch(/^\d+\.\d+\.\d+\n$/u);
    const help = await cli.run(cli.main, ['help', 'restore']);
    expect(help).toMatchObject({ code: 0, err: '' });
    expect(help.out).toContain('Usage: stillpoint restore [options] <point>');
  });

  test('tells of a wrong command line without loading the library', async () => {
    const { code, out, err } = await cli.run(cli.main, ['capture']);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain("error: missing required argument 'vm' (ARGUMENT_INVALID)");
  });
});
