/**
 * `config`: the store's parameters and identity keys, twice (format.md section 2).
 *
 * A block is valid when its checksum holds and every field is in range; the first valid block counts. A block with a
 * right checksum and a higher version makes the store newer, whatever the other block says.
 */

import { Buffer } from 'node:buffer';

import { objectIdAt, type ObjectId } from './brands.js';
import { hasText, i8, isZero, safeU64, u16, u32, u64, u8 } from './bytes.js';
import { messageOf, PortableError } from './errors.js';
import type { Checksum } from './hashes.js';
import { problemOf, type PortableProblem } from './problem.js';

const blockBytes = 4096;
const checksumAt = blockBytes - 8;
const domainsAt = 64;
const domainBytes = 64;
const domainsMax = 16;

/** Highest format version that this reader knows. */
export const formatVersion = 1;

/** The chunk sizes that a store may have. */
export const chunkSizes: readonly number[] = [16_384, 65_536, 262_144, 1_048_576];

/** Codecs of new chunks: plain, zstd, LZ4. Only zstd has levels. */
const codecsOfNewChunks: readonly number[] = [0, 1, 2];
const codecWithLevels = 1;

const keyInTheClear = 1;
const keyWrapped = 2;

/** A key domain with its identity key in the clear. */
export interface KeyDomain {
  readonly domain: number;
  readonly identityKey: Uint8Array;
}

/** What the reader needs of `config`. */
export interface StoreConfig {
  readonly storeId: ObjectId;
  readonly createdMs: number;
  readonly chunkBytes: number;
  readonly domains: readonly KeyDomain[];
}

/**
 * Reads `config`; what is wrong with a copy that was not needed comes back as problems.
 *
 * Throws `STORE_NEWER_FORMAT`, or `STORE_DAMAGED` when no block is valid.
 */
export function parseConfig(
  file: Uint8Array,
  checksum: Checksum,
): { readonly config: StoreConfig; readonly problems: readonly PortableProblem[] } {
  const problems: PortableProblem[] = [];
  const whole = blockBytes * 2;
  if (file.length !== whole) {
    const message = `config has ${file.length} bytes instead of ${whole}`;
    problems.push(problemOf('STORE_DAMAGED', message, 'config', null));
  }
  const blocks = [0, blockBytes].map((at) => file.subarray(at, at + blockBytes));
  for (const block of blocks) refuseNewer(block, checksum);

  const valid: StoreConfig[] = [];
  for (const [index, block] of blocks.entries()) {
    try {
      valid.push(parseBlock(block, checksum));
    } catch (error) {
      if (error instanceof PortableError && error.code === 'STORE_NEWER_FORMAT') throw error;
      const message = `copy ${index + 1} of config: ${messageOf(error)}`;
      problems.push(problemOf('STORE_DAMAGED', message, 'config', index * blockBytes, blockBytes));
    }
  }
  const [config] = valid;
  if (config === undefined) {
    const defects = problems.map((problem) => problem.message);
    throw new PortableError('STORE_DAMAGED', 'neither copy of config is valid', { file: 'config', defects });
  }
  const [first, second] = blocks;
  if (valid.length === 2 && first !== undefined && second !== undefined && Buffer.compare(first, second) !== 0) {
    problems.push(problemOf('STORE_DAMAGED', 'the two copies of config differ', 'config', blockBytes, blockBytes));
  }
  return { config, problems };
}

function isSealed(block: Uint8Array, checksum: Checksum): boolean {
  return (
    block.length === blockBytes &&
    hasText(block, 0, 'STILLCFG') &&
    checksum(block.subarray(0, checksumAt)) === u64(block, checksumAt)
  );
}

function refuseNewer(block: Uint8Array, checksum: Checksum): void {
  if (!isSealed(block, checksum)) return;
  const version = u16(block, 8);
  if (version <= formatVersion) return;
  const message = `the store has format version ${version}; this reader knows up to ${formatVersion}`;
  throw new PortableError('STORE_NEWER_FORMAT', message, { version });
}

function parseBlock(block: Uint8Array, checksum: Checksum): StoreConfig {
  if (!isSealed(block, checksum)) throw new Error('magic or checksum does not hold');
  if (u16(block, 8) !== formatVersion) throw new Error(`version ${u16(block, 8)} never existed`);
  if (u32(block, 12) !== blockBytes) throw new Error(`block length ${u32(block, 12)} instead of ${blockBytes}`);
  const createdMs = safeU64(block, 32);
  if (createdMs === null) throw new Error('time of creation out of range');
  const chunkBytes = u32(block, 40);
  if (!chunkSizes.includes(chunkBytes)) throw new Error(`chunk size ${chunkBytes}`);
  const codec = u8(block, 44);
  const level = i8(block, 45);
  if (!codecsOfNewChunks.includes(codec) || (codec !== codecWithLevels && level !== 0)) {
    throw new Error(`codec ${codec} at level ${level}`);
  }
  const domainCount = u16(block, 46);
  if (domainCount < 1 || domainCount > domainsMax) throw new Error(`${domainCount} key domains`);
  const domainsEnd = domainsAt + domainBytes * domainCount;
  if (!isZero(block, 10, 12) || !isZero(block, 48, 64) || !isZero(block, domainsEnd, checksumAt)) {
    throw new Error('bytes that must be zero are not');
  }
  const domains = Array.from({ length: domainCount }, (_, index) => {
    const at = domainsAt + domainBytes * index;
    return parseDomain(block.subarray(at, at + domainBytes));
  });
  if (new Set(domains.map((domain) => domain.domain)).size !== domainCount)
    throw new Error('a key domain stands twice');
  return { storeId: objectIdAt(block, 16), createdMs, chunkBytes, domains };
}

function parseDomain(entry: Uint8Array): KeyDomain {
  const domain = u32(entry, 0);
  const form = u8(entry, 4);
  if (form === keyWrapped) {
    throw new PortableError('STORE_NEWER_FORMAT', `the identity key of domain ${domain} is wrapped`, { domain });
  }
  if (form !== keyInTheClear) throw new Error(`form ${form} of the key of domain ${domain}`);
  if (!isZero(entry, 5, 16) || !isZero(entry, 48, 64)) throw new Error(`domain ${domain} has bytes that must be zero`);
  return { domain, identityKey: entry.slice(16, 48) };
}
