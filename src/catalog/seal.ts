/**
 * The seal: what the database must hold, in 24 bytes. docs/catalog-format.md, section 3.
 *
 * The digest is the sum of the records' sums modulo 2^64. A sum needs no order, so a batch updates it with the records
 * it touches. A xor would do as well for single bits, but two equal records would cancel out in it.
 */

/** Version of everything the catalog writes. */
export const catalogVersion = 1;

/** How many batches were written, how many records there are, and the sum of their sums. */
export interface Seal {
  readonly sequence: bigint;
  readonly count: bigint;
  readonly digest: bigint;
}

/** The seal before the first batch. */
export const emptySeal: Seal = { sequence: 0n, count: 0n, digest: 0n };

/** The seal one batch later. `removed` and `added` are sums of records; a replaced record is in both. */
export function nextSeal(seal: Seal, removed: readonly bigint[], added: readonly bigint[]): Seal {
  let digest = seal.digest;
  for (const sum of removed) digest -= sum;
  for (const sum of added) digest += sum;
  return {
    sequence: seal.sequence + 1n,
    count: seal.count - BigInt(removed.length) + BigInt(added.length),
    digest: BigInt.asUintN(64, digest),
  };
}

/** Count and digest of records that were just read, to compare with a seal. */
export function counted(sums: Iterable<bigint>): Pick<Seal, 'count' | 'digest'> {
  let count = 0n;
  let digest = 0n;
  for (const sum of sums) {
    count += 1n;
    digest += sum;
  }
  return { count, digest: BigInt.asUintN(64, digest) };
}

/** Whether two seals name the same records. */
export function isSameContent(left: Pick<Seal, 'count' | 'digest'>, right: Pick<Seal, 'count' | 'digest'>): boolean {
  return left.count === right.count && left.digest === right.digest;
}
