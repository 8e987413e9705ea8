/**
 * Which files prettier formats.
 *
 * Not Markdown: tables are written for reading as text, and prettier would widen them to their longest cell.
 */

const folders = '{src,test,bench,examples,scripts,fixtures}';
const endings = '{ts,mts,js,mjs,cjs}';

export const prettierArgs = [
  `${folders}/**/*.${endings}`,
  '*.{ts,js,json}',
  '!package-lock.json',
  '!src/native/generated/**',
  '--no-error-on-unmatched-pattern',
];
