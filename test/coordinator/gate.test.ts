/** Who is let in, and in which order. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { Gate } from '../../src/coordinator/gate.js';

/** Lets everything that is ready run. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

describe('the gate', () => {
  it('lets those behind a caller that gave up in when their turn comes', async () => {
    const gate = new Gate();
    const stop = new AbortController();
    const leave = await gate.enter();
    const second = gate.enter(stop.signal);
    let isThirdIn = false;
    void gate.enter().then(() => {
      isThirdIn = true;
    });

    stop.abort('enough');

    await expect(second).rejects.toMatchObject({ code: 'CANCELLED', cause: 'enough' });
    await settled();
    expect(isThirdIn).toBe(false);
    leave();
    await settled();
    expect(isThirdIn).toBe(true);
  });

  it('turns a caller away whose signal was aborted before', async () => {
    await expect(new Gate().enter(AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it('counts a caller that leaves twice once', async () => {
    const gate = new Gate();
    const first = await gate.enter();
    first();
    await gate.enter();
    first();
    let isIn = false;
    void gate.enter().then(() => {
      isIn = true;
    });
    await settled();

    expect(isIn).toBe(false);
  });

  it('opens again after work that failed', async () => {
    const gate = new Gate();
    await expect(gate.run(undefined, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');

    expect(await gate.run(undefined, async () => 'in')).toBe('in');
  });

  it('never has two callers inside, lets them in in order, and lets everybody in', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 12 }), async (all) => {
        const gate = new Gate();
        const order: number[] = [];
        let inside = 0;
        await Promise.all(
          all.map((turns, number) =>
            gate.run(undefined, async () => {
              order.push(number);
              inside += 1;
              expect(inside).toBe(1);
              for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
              inside -= 1;
            }),
          ),
        );

        expect(order).toEqual(all.map((_, number) => number));
      }),
    );
  });
});
