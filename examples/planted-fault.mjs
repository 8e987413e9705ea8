import * as fc from 'fast-check';
import { createStore, openStore } from 'stillpoint';
import { checkStore, diskHistories, historyMachine, runHistory, World } from 'stillpoint/testing';

const pathOf = (name) => `/images/${name}`;
const images = (world) => ({
  install: (name, bytes) => world.installFile(pathOf(name), bytes),
  write: (name, offset, bytes) => world.writeFile(pathOf(name), offset, bytes),
  punchHole: (name, offset, length) => world.punchHole(pathOf(name), offset, length),
  setLength: (name, length) => world.setLength(pathOf(name), length),
  read: (name) => world.readFile(pathOf(name)),
  pathOf,
});
const property = fc.asyncProperty(diskHistories(fc), async (history) => {
  const world = World.create({ seed: 1 });
  await createStore({ path: '/store' }, world.parts());
  const open = () => openStore({ path: '/store' }, world.parts());
  const { store, model } = await runHistory(history, { images: images(world), open });
  for (const pack of world.files().filter((file) => file.endsWith('.chunks'))) world.flipBit(pack, 200, 3); // the planted fault
  await checkStore(store, historyMachine, model);
});
const { failed, counterexample, errorInstance } = await fc.check(property, { numRuns: 200 });
console.log(failed ? `found, with ${JSON.stringify(counterexample)}: ${errorInstance}` : 'not found');
