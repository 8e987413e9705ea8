/** Documents: one title each, and every link leads somewhere. */

import path from 'node:path';

import { describe, expect, it } from 'vitest';

import { exists, filesIn, textOf } from './tree.js';

const documents = filesIn('.').filter((file) => file.endsWith('.md'));

/** The text without fenced blocks and code spans, which may look like headings and links. */
function prose(text: string): string {
  return text
    .replace(/^(```|~~~)[\s\S]*?^\1[^\n]*$/gm, '')
    .replace(/(`+)[^`][\s\S]*?\1/g, (code) => code.replace(/[^\n`]/g, 'x'));
}

/** The headings with their code spans, since those are part of an anchor. */
function headings(text: string): string[] {
  const withoutBlocks = text.replace(/^(```|~~~)[\s\S]*?^\1[^\n]*$/gm, '');
  return [...withoutBlocks.matchAll(/^#{1,6} +(.+?) *#*$/gm)].map((match) => match[1] ?? '');
}

/** The anchor that a heading gets: lower case, without punctuation, blanks as hyphens; a repeated one is numbered. */
function anchors(text: string): Set<string> {
  const seen = new Map<string, number>();
  return new Set(
    headings(text).map((heading) => {
      const name = heading
        .toLowerCase()
        .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
        .replace(/[^\p{L}\p{N}_\- ]/gu, '')
        .replaceAll(' ', '-');
      const count = seen.get(name) ?? 0;
      seen.set(name, count + 1);
      return count === 0 ? name : `${name}-${count}`;
    }),
  );
}

function brokenLinks(document: string): string[] {
  const links = [...prose(textOf(document)).matchAll(/\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)/gm)];
  return links.flatMap((match) => {
    const link = match[1] ?? match[2] ?? '';
    if (/^[a-z][a-z+.-]*:/.test(link)) return [];
    const [file = '', anchor] = link.split('#');
    const target = file === '' ? document : path.posix.normalize(path.posix.join(path.posix.dirname(document), file));
    if (!exists(target)) return [`${document}: ${link} does not exist`];
    if (anchor === undefined || !target.endsWith('.md') || anchors(textOf(target)).has(anchor)) return [];
    return [`${document}: ${link} has no such heading`];
  });
}

describe('a document', () => {
  it('has exactly one title, and it comes first', () => {
    const wrong = documents.filter((document) => {
      const text = textOf(document);
      const titles = [...prose(text).matchAll(/^# /gm)].length;
      return titles !== 1 || !text.startsWith('# ');
    });

    expect(wrong).toEqual([]);
  });

  it('links to files and headings that exist', () => {
    expect(documents.flatMap(brokenLinks)).toEqual([]);
  });

  it('is named in docs/README.md when it stands in docs', () => {
    const index = textOf('docs/README.md');
    const own = documents.filter((document) => /^docs\/[^/]+\.md$/.test(document) && document !== 'docs/README.md');

    expect(own.filter((document) => !index.includes(`](${path.posix.basename(document)})`))).toEqual([]);
  });

  it('that decides something follows the template', () => {
    const wanted = headings(textOf('docs/decisions/0000-template.md')).slice(1);
    const decisions = filesIn('docs/decisions');

    expect(decisions.filter((file) => !/^docs\/decisions\/\d{4}-[a-z0-9-]+\.md$/.test(file))).toEqual([]);
    for (const decision of decisions)
      expect(headings(textOf(decision)), decision).toEqual(expect.arrayContaining(wanted));
  });
});
