/** Our server's process: a store with one machine of one disk, served until a signal. */

import { createStore, openStore } from 'stillpoint';

/** Serves; captures when the parent sends a message, and answers when the point is copied. */
export async function serve(storePath: string, socket: string, sizeBytes: number): Promise<void> {
  await createStore({ path: storePath });
  const store = await openStore({ path: storePath });
  await store.createDisk({ name: 'disk', sizeBytes });
  await store.createVirtualMachine({ name: 'm', disks: { disk: 'disk' } });
  await store.serveNbd({ listen: [{ unix: socket }] });
  process.on('message', () => {
    void store
      .capture('m')
      .then((point) => point.copied())
      .then(() => process.send?.('copied'));
  });
  await new Promise((resolve) => process.once('SIGTERM', resolve));
  await store.close();
  process.disconnect(); // or the parent's messages would be waited for
}
