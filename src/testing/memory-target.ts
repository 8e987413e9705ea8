/** Targets of a restore by the engine in memory: plain files. */

import { access, constants, open, rename, rm, stat } from 'node:fs/promises';

import { StillpointError } from '../store/errors.js';

/** Writes a new file under a temporary name first. Errors: `TARGET_EXISTS`, `TARGET_INVALID`. */
export async function writeNew(target: string, bytes: Uint8Array): Promise<void> {
  const isThere = await access(target, constants.F_OK).then(
    () => true,
    () => false,
  );
  if (isThere) throw new StillpointError('TARGET_EXISTS', `${target} exists`, { path: target });
  const temporary = `${target}.tmp`;
  try {
    const file = await open(temporary, 'w');
    await file.writeFile(bytes).finally(() => file.close());
    await rename(temporary, target);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new StillpointError('TARGET_INVALID', `${target} cannot be written`, { path: target }, cause);
  }
}

/** Writes over a file that is there, in place. Errors: `TARGET_INVALID`, `TARGET_TOO_SMALL`. */
export async function writeOver(target: string, bytes: Uint8Array): Promise<void> {
  const { size } = await stat(target).catch((cause: unknown) => {
    throw new StillpointError('TARGET_INVALID', `${target} does not exist`, { path: target }, cause);
  });
  if (size < bytes.length) {
    throw new StillpointError('TARGET_TOO_SMALL', `${target} has ${size} bytes, the disk ${bytes.length}`, {
      path: target,
      sizeBytes: size,
    });
  }
  const file = await open(target, 'r+');
  await file.write(bytes, 0, bytes.length, 0).finally(() => file.close());
}
