/** The figures of a suite that share a unit, as bars, with a line for the spread and one where each must be. */

import type { Figure } from './figure.js';

const width = 820;
const labelWidth = 300;
const valueWidth = 170;
const barHeight = 22;
const step = 34;
const top = 44;

/** An SVG image that stands alone. */
export function plot(title: string, figures: readonly Figure[]): string {
  const largest = Math.max(
    ...figures.flatMap(({ value, most, must }) => [value, most ?? 0, must ?? 0]),
    Number.MIN_VALUE,
  );
  const scale = (width - labelWidth - valueWidth) / largest;
  const height = top + figures.length * step + 8;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="13">
<rect width="${width}" height="${height}" fill="white"/>
<text x="12" y="24" font-size="15" font-weight="bold">${escaped(title)}</text>
${figures.map((figure, index) => bar(figure, top + index * step, scale)).join('\n')}
</svg>
`;
}

/** Figures by suite and unit, each group with its title. */
export function groups(figures: readonly Figure[]): ReadonlyMap<string, readonly Figure[]> {
  const all = new Map<string, Figure[]>();
  for (const figure of figures) {
    if (!Number.isFinite(figure.value)) continue;
    const title = `${figure.suite}${figure.unit === '' ? '' : ` (${figure.unit})`}`;
    all.set(title, [...(all.get(title) ?? []), figure]);
  }
  return all;
}

function bar({ what, value, least, most, unit, must, isMost }: Figure, y: number, scale: number): string {
  const middle = y + barHeight / 2;
  const bound = labelWidth + (must ?? 0) * scale;
  const text = `${value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3)} ${unit}`;
  return [
    `<text x="${labelWidth - 8}" y="${middle + 4}" text-anchor="end">${escaped(what)}</text>`,
    `<rect x="${labelWidth}" y="${y}" width="${(value * scale).toFixed(1)}" height="${barHeight}" fill="#1f6feb"/>`,
    ...(least === null || most === null
      ? []
      : [
          `<line x1="${(labelWidth + least * scale).toFixed(1)}" x2="${(labelWidth + most * scale).toFixed(1)}" y1="${middle}" y2="${middle}" stroke="#0a3069" stroke-width="2"/>`,
        ]),
    ...(must === null
      ? []
      : [
          `<line x1="${bound.toFixed(1)}" x2="${bound.toFixed(1)}" y1="${y - 4}" y2="${y + barHeight + 4}" stroke="#d1242f" stroke-width="2"><title>${isMost ? 'at least' : 'at most'} ${must}</title></line>`,
        ]),
    `<text x="${(labelWidth + Math.max(value, most ?? 0, must ?? 0) * scale + 8).toFixed(1)}" y="${middle + 4}">${escaped(text)}</text>`,
  ].join('\n');
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
}
