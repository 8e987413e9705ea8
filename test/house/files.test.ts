/** What every file of the checkout keeps to: length, words that may not stay, nothing of one machine. */

import process from 'node:process';

import { describe, expect, it } from 'vitest';

import { filesIn, textOf } from './tree.js';

const linesMax = 800;
const linesNoted = 450;

/** Hosts that may be named, each with its reason. */
const allowedHosts = new Map([
  ['www.apache.org', 'the text of the licence'],
  ['www.w3.org', 'names of XML and SVG vocabularies, never fetched'],
  ['management.azure.com', 'the name of the API that src/api speaks; part of its identifiers'],
  ['schema.management.azure.com', 'names of JSON schemas, never fetched'],
]);

/** Hosts reserved for examples, and this machine. */
const exampleHost = /^(localhost|127\.0\.0\.1|\[::1\]|([\w-]+\.)*(example(\.(com|net|org))?|test|invalid|localhost))$/i;

const isText = (file: string): boolean =>
  /(\.(ts|mts|cts|js|mjs|cjs|json|rs|toml|md|txt|sh|html|css|svg|ya?ml)|\/run|^LICENSE|^\.[a-z]+)$/.test(file);

const isCode = (file: string): boolean => /\.(ts|mjs|cjs|js|rs)$/.test(file) && !file.includes('/generated/');

const kept = filesIn('.').filter(isText);

/** Every line of the files that a pattern finds, as `file:line: text`. */
function linesWith(files: readonly string[], isWrong: (line: string) => boolean): string[] {
  return files.flatMap((file) =>
    textOf(file)
      .split('\n')
      .flatMap((line, index) => (isWrong(line) ? [`${file}:${index + 1}: ${line.trim().slice(0, 100)}`] : [])),
  );
}

describe('a file', () => {
  it(`of code has less than ${linesMax} lines`, () => {
    const lengths = kept.filter(isCode).map((file) => ({ file, lines: textOf(file).split('\n').length - 1 }));
    const noted = lengths.filter(({ lines }) => lines > linesNoted && lines < linesMax);
    if (noted.length > 0) {
      const list = noted.map(({ file, lines }) => `  ${lines} ${file}`).join('\n');
      process.stderr.write(`files over ${linesNoted} lines, which usually hold two jobs:\n${list}\n`);
    }

    expect(lengths.filter(({ lines }) => lines >= linesMax)).toEqual([]);
  });

  it('leaves nothing undone: no reminder words', () => {
    // Put together here, so that this file does not hold them.
    const words = new RegExp(
      `\\b(${['TO-DO', 'FIX-ME', 'X-X-X'].map((word) => word.replaceAll('-', '')).join('|')})\\b`,
    );

    expect(linesWith(kept, (line) => words.test(line))).toEqual([]);
  });

  it('names no folder of one machine', () => {
    const folders = ['home', 'root', 'Users', 'work', 'mnt'].join('|');
    const machinePath = new RegExp(`(^|[\\s"'\`(=:])/(${folders})/\\w`);

    expect(linesWith(kept, (line) => machinePath.test(line))).toEqual([]);
  });

  it('names no host but those with a reason', () => {
    const files = kept.filter((file) => file !== 'package-lock.json');
    const isForeign = (line: string): boolean =>
      [...line.matchAll(/\b(?:https?|wss?|ssh|git):\/\/(?:[^\s/@]+@)?(\[[^\]]+\]|[\w.-]+)/g)].some(([, host = '']) => {
        return !allowedHosts.has(host) && !exampleHost.test(host);
      });

    expect(linesWith(files, isForeign)).toEqual([]);
  });

  it('ends with a line end and has no blanks at the ends of lines', () => {
    const formatted = kept.filter((file) => isCode(file) || file.endsWith('.md'));

    expect(formatted.filter((file) => !textOf(file).endsWith('\n'))).toEqual([]);
    expect(linesWith(formatted, (line) => /[ \t]$/.test(line))).toEqual([]);
  });
});
