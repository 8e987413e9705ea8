/** An encoder of LZ4 blocks for stores that tests build: greedy, from docs/format.md section 4.3 alone. */

const matchBytesMin = 4;
/** LZ4's own rules for the end of a block, which writers keep. */
const lastLiterals = 5;
const lastMatchBefore = 12;

function rest(length: number): number[] {
  const bytes: number[] = [];
  let left = length - 15;
  for (; left >= 255; left -= 255) bytes.push(255);
  return left < 0 ? [] : [...bytes, left];
}

function sequence(literals: Uint8Array, match: { offset: number; length: number } | null): Uint8Array {
  const more = match === null ? 0 : match.length - matchBytesMin;
  const token = (Math.min(literals.length, 15) << 4) | Math.min(more, 15);
  const tail = match === null ? [] : [match.offset & 0xff, match.offset >> 8, ...rest(more)];
  return Uint8Array.from([token, ...rest(literals.length), ...literals, ...tail]);
}

/** One LZ4 block that decodes to these bytes. */
export function lz4Block(plain: Uint8Array): Uint8Array {
  const seen = new Map<number, number>();
  const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength);
  const sequences: Uint8Array[] = [];
  let literalsAt = 0;
  let at = 0;
  while (at + lastMatchBefore <= plain.length) {
    const four = view.getUint32(at, true);
    const before = seen.get(four);
    seen.set(four, at);
    if (before === undefined || at - before > 0xffff) {
      at += 1;
      continue;
    }
    let length = matchBytesMin;
    while (at + length < plain.length - lastLiterals && plain[before + length] === plain[at + length]) length += 1;
    sequences.push(sequence(plain.subarray(literalsAt, at), { offset: at - before, length }));
    at += length;
    literalsAt = at;
  }
  sequences.push(sequence(plain.subarray(literalsAt), null));
  return Buffer.concat(sequences);
}
