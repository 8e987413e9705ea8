/** An open store whose engine tells how long cuts held the append lock: past the public interface, for this bench alone. */

import { pathToFileURL } from 'node:url';

import { openStore, type Parts, type Store } from 'stillpoint';

import { inCheckout } from '../checkout.js';

interface Probe {
  lastCutHeldNs(): number;
}

type EngineFactory = NonNullable<Parts['engine']>;

export async function openMeasured(path: string): Promise<{ store: Store; lastCutHeldNs: () => number }> {
  // Loaded by its path in the checkout: the package does not export it. A cast: this is the built `src/native/binding.ts`.
  const url = pathToFileURL(inCheckout('dist', 'native', 'binding.js')).href;
  const { nativeEngine } = (await import(url)) as { nativeEngine: EngineFactory };
  let probe: Probe | null = null;
  const engine: EngineFactory = {
    ...nativeEngine,
    open: async (...args) => {
      const opened = await nativeEngine.open(...args);
      probe = opened as unknown as Probe;
      return opened;
    },
  };
  const store = await openStore({ path }, { engine });
  return { store, lastCutHeldNs: () => probe?.lastCutHeldNs() ?? Number.NaN };
}
