/** A case as bars: one for each contender, with a line from the least to the most that was measured. */

import type { CaseResult, Entry } from './comparison.js';

const width = 760;
const labelWidth = 110;
const valueWidth = 150;
const barHeight = 22;
const step = 34;
const top = 44;

/** An SVG image that stands alone. */
export function plot({ case: { title, unit }, entries }: CaseResult): string {
  const largest = Math.max(...entries.map(({ value }) => value.max), Number.MIN_VALUE);
  const scale = (width - labelWidth - valueWidth) / largest;
  const height = top + entries.length * step + 8;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="13">
<rect width="${width}" height="${height}" fill="white"/>
<text x="12" y="24" font-size="15" font-weight="bold">${escaped(title)} (${unit}; shorter is better)</text>
${entries.map((entry, index) => bar(entry, unit, top + index * step, scale, index === 0)).join('\n')}
</svg>
`;
}

function bar({ contender, value, ratio }: Entry, unit: string, y: number, scale: number, isOurs: boolean): string {
  const at = (number: number): string => (labelWidth + number * scale).toFixed(1);
  const middle = y + barHeight / 2;
  const figure = `${value.median.toFixed(unit === 's' ? 2 : 0)} ${unit}`;
  const text = ratio === null || isOurs ? figure : `${figure} (${ratio.toFixed(1)} times)`;
  return [
    `<text x="${labelWidth - 8}" y="${middle + 4}" text-anchor="end">${escaped(contender)}</text>`,
    `<rect x="${labelWidth}" y="${y}" width="${(value.median * scale).toFixed(1)}" height="${barHeight}" fill="${isOurs ? '#1f6feb' : '#9aa4b1'}"/>`,
    `<line x1="${at(value.min)}" x2="${at(value.max)}" y1="${middle}" y2="${middle}" stroke="black"/>`,
    `<text x="${(labelWidth + value.max * scale + 8).toFixed(1)}" y="${middle + 4}">${escaped(text)}</text>`,
  ].join('\n');
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
}
