/** Law: writers without space have a collection begun for them, one at a time and not without a pause; a deletion never waits for it. */

import { describe, expect, it } from 'vitest';

import { Relief } from '../../src/coordinator/relief.js';

const roomy = { debtBytes: 0, availableBytes: 100, logBytes: 0, layers: 1 };
const short = { debtBytes: 100, availableBytes: 10, logBytes: 0, layers: 1 };

function reliefAt(pressure = roomy) {
  const clock = { ms: 0 };
  const ends: (() => void)[] = [];
  const relief = new Relief({
    clock: { nowMs: () => clock.ms },
    pressure: () => pressure,
    collect: () => new Promise<void>((resolve) => ends.push(resolve)),
  });
  const end = async (tookMs: number): Promise<void> => {
    clock.ms += tookMs;
    ends.at(-1)?.();
    await Promise.resolve();
    await Promise.resolve();
  };
  return { relief, clock, begun: () => ends.length, end };
}

describe('relief', () => {
  it('collects once for many refused writers, and again only after three times as long as that took', async () => {
    const { relief, clock, begun, end } = reliefAt();
    for (let count = 0; count < 5; count += 1) relief.refused();
    expect(begun()).toBe(1);
    await end(1000);
    clock.ms += 2999;
    relief.refused();
    expect(begun()).toBe(1);
    clock.ms += 1;
    relief.refused();
    expect(begun()).toBe(2);
  });

  it('collects at once what a deletion left, when space is short or a writer was refused since', async () => {
    const { relief, begun, end } = reliefAt(short);
    relief.deleted();
    expect(begun()).toBe(1);
    relief.deleted(); // the one that runs may have looked already
    await end(10);
    expect(begun()).toBe(2);

    const other = reliefAt();
    other.relief.deleted();
    expect(other.begun()).toBe(0);
    other.relief.refused();
    await other.end(10);
    other.relief.refused();
    other.relief.deleted();
    expect(other.begun()).toBe(2);
  });
});
