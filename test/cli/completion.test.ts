/** The completion scripts are sound, and complete what they should. */

import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { requireTool } from '../house/tools.js';
import { CompiledCli } from './compiled-cli.js';
import { userWithPoints } from './fake-shell.js';

const shells = ['bash', 'zsh', 'fish'] as const;

let cli: CompiledCli;
let scripts: Record<string, string>;
let path: string;

// Bash is part of every Debian; the others have to be asked for.
const isMissing = { bash: false, zsh: requireTool('zsh').isMissing, fish: requireTool('fish').isMissing };

beforeAll(async () => {
  const user = await userWithPoints();
  scripts = {};
  for (const shell of shells) scripts[shell] = (await user.type(`completion ${shell}`)).out;
  cli = new CompiledCli();
  const programs = join(cli.directory, 'programs');
  mkdirSync(programs);
  for (const shell of shells) writeFileSync(join(cli.directory, `completion.${shell}`), scripts[shell] ?? '');
  writeFileSync(join(programs, 'stillpoint'), `#!/bin/sh\nexec '${process.execPath}' '${cli.fakeMain}' "$@"\n`);
  chmodSync(join(programs, 'stillpoint'), 0o755);
  path = `${programs}:${process.env['PATH'] ?? ''}`;
});

afterAll(() => {
  cli.remove();
});

function inShell(shell: string, script: string): string[] {
  const environment = { ...process.env, PATH: path, STILLPOINT_STORE: '/backup/store' };
  const options = { encoding: 'utf8', cwd: cli.directory, env: environment } as const;
  const flags = shell === 'bash' ? ['--norc', '-c'] : ['-c'];
  return execFileSync(shell, [...flags, script], options)
    .trim()
    .split('\n')
    .filter(Boolean);
}

/** What bash offers when the last of the words is being typed; `=` is a word of its own, as bash has it. */
function inBash(words: readonly string[]): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ');
  return inShell(
    'bash',
    `compopt() { :; }; source ./completion.bash; COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}
     _stillpoint stillpoint; printf '%s\\n' "\${COMPREPLY[@]}"`,
  );
}

describe.each(shells)('the script for %s', (shell) => {
  test.skipIf(isMissing[shell])('has no mistakes in its syntax', () => {
    const { status, stderr } = spawnSync(shell, ['-n', join(cli.directory, `completion.${shell}`)], {
      encoding: 'utf8',
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test('knows every command and no hidden one', () => {
    for (const name of ['init', 'capture', 'portable-restore', 'remove-disk', 'granularity']) {
      expect(scripts[shell]).toContain(name);
    }
    expect(scripts[shell]).not.toContain('__complete machine ');
  });
});

describe('bash', () => {
  test.each([
    [['stillpoint', 'po'], ['portable-restore']],
    [
      ['stillpoint', 'vm', ''],
      ['create', 'list', 'show', 'update', 'delete'],
    ],
    [
      ['stillpoint', 'disk', ''],
      ['create', 'import', 'clone', 'grow', 'limit', 'attach', 'detach', 'list', 'delete'],
    ],
    [['stillpoint', 'disk', 'detach', 's'], []],
    [['stillpoint', 'capture', 'w'], ['web1']],
    [['stillpoint', '--store', '/backup/store', 'list', ''], ['web1']],
    [
      ['stillpoint', 'diff', ''],
      ['web1/rp1', 'web1/rp2'],
    ],
    [
      ['stillpoint', 'diff', 'web1/rp1', 'web1/rp2', '--disk', ''],
      ['data', 'os'],
    ],
    [
      ['stillpoint', 'delete', 'web1/rp1', 'web1/rp'],
      ['web1/rp1', 'web1/rp2'],
    ],
    [
      ['stillpoint', 'show', ''],
      ['web1', 'web1/rp1', 'web1/rp2'],
    ],
    [['stillpoint', 'capture', 'web1', '--consistency', 'f'], ['file-system']],
    [
      ['stillpoint', 'init', '--chunk-size', '='],
      ['16KiB', '64KiB', '256KiB', '1MiB'],
    ],
    [
      ['stillpoint', 'init', '--chunk-size', '=', '1'],
      ['16KiB', '1MiB'],
    ],
    [
      ['stillpoint', 'restore', 'web1/rp1', '--to-'],
      ['--to-directory', '--to-disk', '--to-vm'],
    ],
    [
      ['stillpoint', 'restore', 'web1/default/r'],
      ['web1/default/rp1', 'web1/default/rp2'],
    ],
    [['stillpoint', 'vm', 'create', 'x', '--external', 'os', '=', 'pack'], ['package.json']],
    [['stillpoint', 'vm', 'create', 'x', '--external', 'os', '=', '/x', '--config', 'pack'], ['package.json']],
    [['stillpoint', 'bench', '--images', 'a', 'b', 'pack'], ['package.json']],
    [
      ['stillpoint', 'completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [['stillpoint', 'status', ''], []],
  ] as const)('%j is completed to %j', (words, offered) => {
    expect(inBash(words)).toEqual(offered);
  });
});

test('bash offers files, and no role again, right behind ROLE=', () => {
  const offered = inBash(['stillpoint', 'vm', 'create', 'x', '--external', 'os', '=']);
  expect(offered).toContain('package.json');
  expect(offered).not.toContain('os=');
});

describe('fish', () => {
  test.skipIf(isMissing.fish).each([
    ['stillpoint vm ', ['create', 'delete', 'list', 'show', 'update']],
    ['stillpoint capture ', ['web1']],
    ['stillpoint diff web1/rp1 web1/rp2 --disk ', ['data', 'os']],
    ['stillpoint restore web1/default/r', ['web1/default/rp1', 'web1/default/rp2']],
    ['stillpoint capture web1 --consistency f', ['file-system']],
    ['stillpoint restore web1/rp1 --to-', ['--to-directory', '--to-disk', '--to-vm']],
  ] as const)('%j is completed to %j', (line, offered) => {
    const answer = inShell('fish', `source ./completion.fish; complete -C '${line}'`);
    expect(answer.map((each) => each.split('\t')[0]).sort()).toEqual([...offered].sort());
  });
});

describe('__complete', () => {
  test('says nothing when the store cannot be opened', async () => {
    const user = await userWithPoints();
    expect(await user.type('__complete point -- --store /nowhere')).toEqual({ code: 0, out: '', err: '' });
  });

  test('never takes the lock', async () => {
    const user = await userWithPoints();
    user.world.openings.length = 0;
    const { out } = await user.run(['__complete', 'point', '--', 'show', '']);
    expect(out).toBe('web1/rp1\nweb1/rp2\n');
    expect(user.world.openings).toEqual(['/backup/store (read-only)']);
  });

  test('gives the long name of a point whose short one is ambiguous', async () => {
    const user = await userWithPoints();
    await user.type('capture web1 --collection daily --name rp1');
    const { out } = await user.run(['__complete', 'point', '--']);
    expect(out).toBe('web1/daily/rp1\nweb1/default/rp1\nweb1/rp2\n');
  });

  test('gives the long name where a collection was typed', async () => {
    const user = await userWithPoints();
    const { out } = await user.run(['__complete', 'point', '--', 'show', 'WEB1/default/']);
    expect(out).toBe('web1/default/rp1\nweb1/default/rp2\n');
  });

  test('finds the store among the words, with quotes and without', async () => {
    const user = await userWithPoints();
    const environment = { STILLPOINT_STORE: '/nowhere' };
    for (const store of ['--store=/backup/store', `--store '/backup/store'`, '--store = /backup/store']) {
      const words = ['__complete', 'machine', '--', ...store.split(' ')];
      expect((await user.run(words, { environment })).out, store).toBe('web1\n');
    }
  });
});
