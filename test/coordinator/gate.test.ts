/** Who is let in beside whom, and in which order. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { Gate, type Leave, type Passage } from '../../src/coordinator/gate.js';

/** Lets everything that is ready run. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

/** Callers of a gate, by number, and who is inside. */
class Callers {
  readonly gate = new Gate();
  readonly inside: number[] = [];
  readonly #leaves = new Map<number, Leave>();

  enter(number: number, passage: Passage, signal?: AbortSignal): Promise<void> {
    return this.gate.enter(passage, signal).then((leave) => {
      this.inside.push(number);
      this.#leaves.set(number, leave);
    });
  }

  leave(number: number): void {
    this.inside.splice(this.inside.indexOf(number), 1);
    this.#leaves.get(number)?.();
  }
}

describe('the gate', () => {
  it('lets shared callers in side by side', async () => {
    const callers = new Callers();
    await Promise.all([callers.enter(1, 'shared'), callers.enter(2, 'shared')]);

    expect(callers.inside).toEqual([1, 2]);
  });

  it('lets an exclusive caller in alone, and holds back the shared ones behind it', async () => {
    const callers = new Callers();
    await callers.enter(1, 'shared');
    void callers.enter(2, 'exclusive');
    void callers.enter(3, 'shared');
    void callers.enter(4, 'shared');
    await settled();
    expect(callers.inside).toEqual([1]);

    callers.leave(1);
    await settled();
    expect(callers.inside).toEqual([2]);

    callers.leave(2);
    await settled();
    expect(callers.inside).toEqual([3, 4]);
  });

  it('lets those behind a caller that gave up in at once', async () => {
    const callers = new Callers();
    const stop = new AbortController();
    await callers.enter(1, 'shared');
    const second = callers.enter(2, 'exclusive', stop.signal);
    void callers.enter(3, 'shared');
    await settled();

    stop.abort('enough');

    await expect(second).rejects.toMatchObject({ code: 'CANCELLED', cause: 'enough' });
    await settled();
    expect(callers.inside).toEqual([1, 3]);
  });

  it('turns a caller away whose signal was aborted before', async () => {
    await expect(new Gate().enter('shared', AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it('counts a caller that leaves twice once', async () => {
    const gate = new Gate();
    const first = await gate.enter('shared');
    await gate.enter('shared');
    first();
    first();
    let isIn = false;
    void gate.enter('exclusive').then(() => {
      isIn = true;
    });
    await settled();

    expect(isIn).toBe(false);
  });

  it('opens again after work that failed', async () => {
    const gate = new Gate();
    await expect(gate.run('exclusive', undefined, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');

    expect(await gate.run('shared', undefined, async () => 'in')).toBe('in');
  });

  it('never has an exclusive caller beside another one, lets callers in in order, and lets everybody in', async () => {
    const caller = fc.record({
      passage: fc.constantFrom<Passage>('shared', 'exclusive'),
      turns: fc.integer({ min: 0, max: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(caller, { maxLength: 12 }), async (all) => {
        const gate = new Gate();
        const order: number[] = [];
        let shared = 0;
        let exclusive = 0;
        await Promise.all(
          all.map(({ passage, turns }, number) =>
            gate.run(passage, undefined, async () => {
              order.push(number);
              if (passage === 'shared') shared += 1;
              else exclusive += 1;
              expect(exclusive === 0 || (exclusive === 1 && shared === 0)).toBe(true);
              for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
              if (passage === 'shared') shared -= 1;
              else exclusive -= 1;
            }),
          ),
        );

        expect(order).toEqual(all.map((_, number) => number));
      }),
    );
  });
});
