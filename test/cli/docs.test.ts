/** docs/cli.md tells the truth: its examples are run, and every command and option of the program is on it. */

import { readFile, writeFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Command } from 'commander';
import { createProgram } from '../../src/cli/program.js';
import type { Invoke } from '../../src/cli/invocation.js';
import { exchangesOf, parsePage, printPage, wrapJson, type Page } from './docs-page.js';
import { FakeUser, KeepingStream, wordsOf } from './fake-shell.js';

const pagePath = new URL('../../docs/cli.md', import.meta.url);
const update = process.env['STILLPOINT_UPDATE_DOCS'] === '1';

let page: Page;
let text: string;

beforeAll(async () => {
  text = await readFile(pagePath, 'utf8');
  page = parsePage(text);
});

function reader(): FakeUser {
  const user = new FakeUser();
  user.world.images.set('/images/os.raw', 8 * 1024 ** 3);
  user.world.images.set('/images/data.raw', 4 * 1024 ** 3);
  return user;
}

/** A program whose commands do nothing. */
function idleProgram(): Command {
  const invoke: Invoke = Object.assign(async () => undefined, { workingDirectory: '/data' });
  const nothing = (): undefined => undefined;
  return createProgram(invoke, { writeOut: nothing, writeErr: nothing, outColumns: 80, outColour: false });
}

describe('docs/cli.md', () => {
  test('what its examples print is what the commands print', async () => {
    const user = reader();
    const environment: Record<string, string> = {};
    let lastJson: unknown = null;
    let lastCode = 0;
    for (const block of page.blocks) {
      if (block.language === 'json' && lastJson !== null) {
        if (update) block.lines = wrapJson(lastJson).split('\n');
        else expect(JSON.parse(block.lines.join('\n'))).toEqual(lastJson);
      }
      lastJson = null;
      if (block.language !== 'console') continue;
      const printed: string[] = [];
      for (const { typed } of exchangesOf(block)) {
        printed.push(`$ ${typed}`);
        const variable = /^export (\w+)=(.*)$/u.exec(typed);
        if (variable !== null) environment[variable[1] ?? ''] = variable[2] ?? '';
        else if (typed === 'echo $?') printed.push(String(lastCode));
        else {
          // One stream for both, as on a terminal, but one that is none.
          const stream = new KeepingStream();
          const line = typed.replace(/^stillpoint /u, '');
          const ran = await user.type(line, { stdout: stream, stderr: stream, environment: { ...environment } });
          lastCode = ran.code;
          if (line.includes('--json')) lastJson = JSON.parse(stream.text);
          else printed.push(...stream.text.trimEnd().split('\n'));
        }
      }
      if (update) block.lines = printed;
      else expect(block.lines.map((line) => line.trimEnd())).toEqual(printed);
    }
    if (update) await writeFile(pagePath, printPage(page));
  });

  test('every command line on it parses', async () => {
    const lines = page.blocks
      .filter((block) => block.language === 'text' || block.language === 'console')
      .flatMap(exchangesOf)
      .map(({ typed }) => typed.replace(/\s*[|>].*$/u, ''))
      .filter((typed) => typed.startsWith('stillpoint ') && !typed.includes('captur '));
    expect(lines.length).toBeGreaterThan(30);
    for (const line of lines) {
      const parsed = idleProgram().parseAsync(wordsOf(line).slice(1), { from: 'user' });
      await expect(parsed, line).resolves.toBeDefined();
    }
  });

  test('every command has a section that names all of its options and words', () => {
    const walk = (command: Command, path: string): void => {
      const below = command.commands.filter((each) => !each.name().startsWith('__') && each.name() !== 'help');
      for (const each of below) walk(each, `${path} ${each.name()}`.trim());
      if (below.length > 0) return;
      const start = text.indexOf(`\n### ${path}\n`);
      expect(start, `section ${path}`).toBeGreaterThan(0);
      const end = text.indexOf('\n##', start + 4);
      const section = text.slice(start, end === -1 ? undefined : end);
      for (const option of command.options) expect(section, `${path} ${option.long}`).toContain(`${option.long}`);
      expect(section).toContain(`stillpoint ${path}`);
    };
    const program = idleProgram();
    walk(program, '');
    for (const option of program.options) expect(text).toContain(`${option.long}`);
  });
});
