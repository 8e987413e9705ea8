/** A `config` of another format version: the version changed, and the checksum made to fit. docs/format.md, section 2. */

import { readFileSync, writeFileSync } from 'node:fs';

import createChecksum from 'xxhash-wasm';

const blockBytes = 4096;
const checksumAt = 4088;

/** Changes the version in copies of `config`: 0 is the first one, 1 the second. */
export async function changeConfigVersion(file: string, copies: readonly number[], version: number): Promise<void> {
  const { h64Raw } = await createChecksum();
  const config = readFileSync(file);
  for (const copy of copies) {
    const block = config.subarray(copy * blockBytes, (copy + 1) * blockBytes);
    block.writeUInt16LE(version, 8);
    block.writeBigUInt64LE(h64Raw(block.subarray(0, checksumAt)), checksumAt);
  }
  writeFileSync(file, config);
}
