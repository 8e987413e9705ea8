/** Stacks as a flame graph: a box for each function, as wide as its share of all samples, on the one that called it. */

import type { Frame } from './stacks.js';

const width = 1200;
const rowHeight = 17;
const top = 40;
const letterWidth = 6.6;
/** Narrower boxes cannot be seen or pointed at. */
const boxWidthMin = 0.4;

/** An SVG image that stands alone. */
export function flameGraph(title: string, root: Frame): string {
  const boxes: string[] = [];
  let depth = 0;
  const draw = (frame: Frame, row: number, from: number): void => {
    const boxWidth = (frame.samples / root.samples) * width;
    if (boxWidth < boxWidthMin) return;
    depth = Math.max(depth, row + 1);
    boxes.push(box(frame, row, from, boxWidth, root.samples));
    let at = from;
    for (const called of [...frame.called.values()].sort((left, right) => right.samples - left.samples)) {
      draw(called, row + 1, at);
      at += (called.samples / root.samples) * width;
    }
  };
  if (root.samples > 0) draw(root, 0, 0);
  const height = top + depth * rowHeight + 8;
  // Rows count from the bottom: the flames stand up.
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="monospace" font-size="11">
<rect width="${width}" height="${height}" fill="white"/>
<text x="8" y="22" font-size="15" font-weight="bold" font-family="sans-serif">${escaped(title)}; ${root.samples} samples</text>
<g transform="translate(0 ${height - 8}) scale(1 -1)">
${boxes.join('\n')}
</g>
</svg>
`;
}

function box({ name, samples }: Frame, row: number, x: number, boxWidth: number, all: number): string {
  const y = row * rowHeight;
  const letters = Math.floor((boxWidth - 6) / letterWidth);
  const label = letters < 3 ? '' : name.length <= letters ? name : `${name.slice(0, letters - 1)}…`;
  const text = `<text transform="translate(${(x + 3).toFixed(1)} ${y + 5}) scale(1 -1)">${escaped(label)}</text>`;
  return `<g><title>${escaped(name)}: ${((samples / all) * 100).toFixed(2)} %</title><rect x="${x.toFixed(1)}" y="${y}" width="${boxWidth.toFixed(1)}" height="${rowHeight - 1}" fill="${colourOf(name)}"/>${label === '' ? '' : text}</g>`;
}

/** Warm, and the same for the same name, so that graphs can be compared by eye. */
function colourOf(name: string): string {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) % 9973;
  return `hsl(${hash % 50} 85% ${62 + (hash % 17)}%)`;
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}
