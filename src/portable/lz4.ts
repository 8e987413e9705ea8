/**
 * One LZ4 block to plain bytes (format.md section 4.3).
 *
 *     token | more literal length | literals | u16 offset | more match length |  token ...  literals
 *
 * Guarantees: exactly the plain length comes back, or an `Error` says why not; every stored byte was used; nothing is
 * read or written outside of the two arrays. As with every codec, the content's id then says whether these are the right
 * bytes. Its memory is the plain length, whatever the block claims.
 *
 * Must not import anything: the format is all there is to know.
 */

const matchBytesMin = 4;

/** A length of four bits that goes on in the bytes that follow. */
const lengthGoesOn = 15;

/** Decodes a block that stands for `plainBytes` bytes. Throws an `Error` that says why when it does not. */
export function decodeLz4Block(stored: Uint8Array, plainBytes: number): Uint8Array {
  const plain = new Uint8Array(plainBytes);
  let from = 0;
  let to = 0;

  const nextByte = (): number => {
    const byte = stored[from];
    if (byte === undefined) throw new Error('the LZ4 block ends within a sequence');
    from += 1;
    return byte;
  };
  // A sum of at most 255 for each stored byte, so it stays a number that counts exactly.
  const wholeLength = (fourBits: number): number => {
    let length = fourBits;
    if (fourBits !== lengthGoesOn) return length;
    for (;;) {
      const byte = nextByte();
      length += byte;
      if (byte !== 255) return length;
    }
  };
  const checkRoom = (length: number): void => {
    if (length > plainBytes - to) throw new Error(`the LZ4 block decodes to more than ${plainBytes} bytes`);
  };

  for (;;) {
    const token = nextByte();
    const literalBytes = wholeLength(token >> 4);
    if (literalBytes > stored.length - from) throw new Error('literals go past the end of the LZ4 block');
    checkRoom(literalBytes);
    plain.set(stored.subarray(from, from + literalBytes), to);
    from += literalBytes;
    to += literalBytes;
    if (from === stored.length) break;

    const offset = nextByte() | (nextByte() << 8);
    const matchBytes = matchBytesMin + wholeLength(token & 15);
    if (offset === 0 || offset > to) throw new Error(`a match of the LZ4 block begins ${offset} bytes back, at ${to}`);
    checkRoom(matchBytes);
    if (offset >= matchBytes) plain.copyWithin(to, to - offset, to - offset + matchBytes);
    // The match runs into the bytes that it makes; `copyWithin` would copy what stood there before.
    else for (let at = to; at < to + matchBytes; at += 1) plain[at] = plain[at - offset] ?? 0;
    to += matchBytes;
  }
  if (to !== plainBytes) throw new Error(`decoded to ${to} bytes, not ${plainBytes}`);
  return plain;
}
