/** Places and bytes for tests on real file systems: folders that go away, images that are still, noise from a seed. */

import { createCipheriv, createHash } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { onTestFinished } from 'vitest';

/** How long an image must not have been written to before a capture takes it, with room for coarse time stamps. */
const stillMs = 30;

/** A new folder, removed when the test that asked for it has ended. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'stillpoint-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Bytes that no codec makes smaller, the same for the same seed: AES in counter mode over zeros. */
export function noise(seed: number, length: number): Buffer {
  const key = createHash('sha256').update(`noise ${seed}`).digest().subarray(0, 16);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** Text of eight letters in the order of `noise`: slow to compress at a high level, and never a fill. */
export function letters(seed: number, length: number): Buffer {
  const bytes = noise(seed, length);
  for (let index = 0; index < length; index += 1) bytes[index] = 97 + ((bytes[index] ?? 0) & 7);
  return bytes;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Resolves when a file was last written to so long ago that a capture takes it. */
export async function still(file: string): Promise<void> {
  // Nothing tells when a time stamp has become old, so this waits for the time itself.
  for (let ageMs = 0; ageMs < stillMs; ageMs = Date.now() - statSync(file).ctimeMs) await pause(stillMs - ageMs);
}

/** Writes a file that a capture takes at once. */
export async function writeStill(file: string, bytes: Uint8Array): Promise<void> {
  writeFileSync(file, bytes);
  await still(file);
}
