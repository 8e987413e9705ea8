/**
 * Reads `docs/cli.md` as a session: fenced `console` blocks hold command lines and what they print, a `json` block
 * after one holds the object that its last line prints.
 *
 * Inside a console block a line that begins with `$ ` is typed; lines up to the next one are the answer. With
 * STILLPOINT_UPDATE_DOCS=1 the test writes the answers into the page instead of comparing them.
 */

/** A fenced block; `at` is the index of its opening line. */
export interface Block {
  readonly language: string;
  readonly at: number;
  lines: string[];
}

/** A page: blocks in order, and the lines between them. */
export interface Page {
  readonly lines: readonly string[];
  readonly blocks: readonly Block[];
}

/** Takes a page apart. */
export function parsePage(text: string): Page {
  const lines = text.split('\n');
  const blocks: Block[] = [];
  let open: Block | null = null;
  for (const [at, line] of lines.entries()) {
    if (open === null && line.startsWith('```')) open = { language: line.slice(3), at, lines: [] };
    else if (open !== null && line === '```') {
      blocks.push(open);
      open = null;
    } else if (open !== null) open.lines.push(line);
  }
  return { lines, blocks };
}

/** Puts a page together again, with the lines that its blocks have now. */
export function printPage(page: Page): string {
  const out: string[] = [];
  let next = 0;
  for (const [at, line] of page.lines.entries()) {
    if (at < next) continue;
    out.push(line);
    const block = page.blocks.find((each) => each.at === at);
    if (block === undefined) continue;
    out.push(...block.lines);
    next = at + 1;
    while (page.lines[next] !== '```') next += 1;
  }
  return out.join('\n');
}

/** A typed line and its answer. */
export interface Exchange {
  readonly typed: string;
  readonly answer: readonly string[];
}

/** The exchanges of a console block. */
export function exchangesOf(block: Block): Exchange[] {
  const exchanges: { typed: string; answer: string[] }[] = [];
  for (const line of block.lines) {
    if (line.startsWith('$ ')) exchanges.push({ typed: line.slice(2), answer: [] });
    else exchanges.at(-1)?.answer.push(line);
  }
  return exchanges;
}

/** JSON wrapped to a width: what fits on a line stays on it. */
export function wrapJson(value: unknown, width = 112, indent = ''): string {
  // Outside of texts a blank follows each colon and comma.
  const flat = JSON.stringify(value).replace(/"(?:[^"\\]|\\.)*"|[:,]/gu, (part) =>
    part.length === 1 ? `${part} ` : part,
  );
  if (typeof value !== 'object' || value === null || indent.length + flat.length <= width) return flat;
  const inner = `${indent}  `;
  const items = Array.isArray(value)
    ? value.map((item) => inner + wrapJson(item, width, inner))
    : Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${wrapJson(item, width, inner)}`);
  const [first, last] = Array.isArray(value) ? '[]' : '{}';
  return `${first}\n${items.join(',\n')}\n${indent}${last}`;
}
