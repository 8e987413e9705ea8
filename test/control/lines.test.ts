/** Lines come out of bytes as they went in, however these are cut; what is too long or no text is refused. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { LineBudget, linesOf, ProtocolError } from '../../src/control/lines.js';
import { testSeed } from '../house/seed.js';

async function* cut(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const size of sizes) {
    yield bytes.subarray(at, at + size);
    at += size;
  }
  yield bytes.subarray(at);
}

async function all(
  source: AsyncIterable<Uint8Array>,
  bytesMax = 1000,
  budget = new LineBudget(1e6),
): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of linesOf(source, bytesMax, budget)) lines.push(line);
  return lines;
}

describe('linesOf', () => {
  it('gives the lines that were sent, wherever the bytes are cut', async () => {
    const line = fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\n', ' '));
    await fc.assert(
      fc.asyncProperty(fc.array(line), fc.array(fc.nat({ max: 20 })), async (lines, sizes) => {
        const bytes = Buffer.from(lines.map((each) => `${each}\n`).join(''));
        expect(await all(cut(bytes, sizes))).toEqual(lines);
      }),
      { seed: testSeed },
    );
  });

  it('drops what has no end', async () => {
    expect(await all(cut(Buffer.from('whole\nhalf'), []))).toEqual(['whole']);
  });

  it('refuses a line that is too long, also one that has not ended', async () => {
    for (const text of [`${'x'.repeat(1001)}\n`, 'x'.repeat(1001)]) {
      await expect(all(cut(Buffer.from(text), [400, 400]))).rejects.toThrow(ProtocolError);
    }
    expect(await all(cut(Buffer.from(`${'x'.repeat(1000)}\n`), [400]))).toHaveLength(1);
  });

  it('refuses bytes that are no text', async () => {
    await expect(all(cut(Buffer.from([0x61, 0xff, 0x0a]), []))).rejects.toThrow('not UTF-8');
  });

  it('bounds what several readers hold together, and gives back what they held', async () => {
    const budget = new LineBudget(100);
    const bytes = Buffer.from(`${'x'.repeat(80)}\n`);
    expect(await all(cut(bytes, [10]), 1000, budget)).toHaveLength(1);
    const waiting = linesOf(cut(Buffer.from('y'.repeat(60)), []), 1000, budget);
    const source = (async function* () {
      yield Buffer.from('z'.repeat(50));
      yield Buffer.from('\n');
    })();
    // Two unfinished lines of 60 and 50 bytes: the second is one too many.
    let release: () => void = () => undefined;
    const held = linesOf(
      (async function* () {
        yield Buffer.from('y'.repeat(60));
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      })(),
      1000,
      budget,
    );
    const ended = held.next();
    await expect(all(source, 1000, budget)).rejects.toThrow('unfinished');
    release();
    await ended;
    expect(await waiting.next()).toEqual({ done: true, value: undefined });
    expect(await all(cut(bytes, []), 1000, budget)).toHaveLength(1);
  });
});
