/**
 * Keys that a server shares with its clients, as `psktool` of GnuTLS writes them: `USER:KEY`, line by line.
 *
 * What is wrong is told by the number of its line, never by what stands there.
 */

import { StillpointError } from './errors.js';
import { text } from './checks.js';

/** Fewer could be found by trying, by whoever answers a client once in the server's place. */
const keyBytesMin = 16;
/** What OpenSSL takes as a key and as a user. */
const keyBytesMax = 256;
const userBytesMax = 128;

/** The users of a text, with their keys. Throws `ARGUMENT_INVALID`. */
export function preSharedKeysIn(option: string, value: unknown): ReadonlyMap<string, Uint8Array> {
  const keys = new Map<string, Uint8Array>();
  for (const [index, line] of text(option, value).split(/\r?\n/).entries()) {
    if (line.trim() === '') continue;
    const wrong = (why: string): StillpointError =>
      new StillpointError('ARGUMENT_INVALID', `the option ${option} cannot be used: line ${index + 1}: ${why}`, {
        option,
        line: index + 1,
      });
    const colon = line.lastIndexOf(':');
    if (colon < 1) throw wrong('a line is USER:KEY');
    const user = userIn(line.slice(0, colon));
    if (user === null) throw wrong(`a user is a text of 1 to ${userBytesMax} bytes, or # and its bytes in hexadecimal`);
    const key = bytesIn(line.slice(colon + 1).trim());
    if (key === null) throw wrong('a key is written in hexadecimal, two digits a byte');
    if (key.length < keyBytesMin || key.length > keyBytesMax) {
      throw wrong(`a key has ${keyBytesMin} to ${keyBytesMax} bytes, and this one ${key.length}`);
    }
    if (keys.has(user)) throw wrong('the user has a line already');
    keys.set(user, key);
  }
  if (keys.size === 0) {
    throw new StillpointError('ARGUMENT_INVALID', `the option ${option} cannot be used: it has no user`, { option });
  }
  return keys;
}

function bytesIn(hexadecimal: string): Uint8Array | null {
  return /^([0-9a-f]{2})+$/i.test(hexadecimal) ? Uint8Array.from(Buffer.from(hexadecimal, 'hex')) : null;
}

function userIn(written: string): string | null {
  const bytes = written.startsWith('#') ? bytesIn(written.slice(1)) : Buffer.from(written);
  if (bytes === null || bytes.length > userBytesMax || bytes.includes(0)) return null;
  const user = Buffer.from(bytes).toString();
  return Buffer.from(user).equals(bytes) ? user : null; // what is no text never arrives as itself
}
