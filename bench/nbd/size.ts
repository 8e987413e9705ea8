/** How much the NBD bench does: enough for figures, or just enough to see that it runs. */

const MiB = 2 ** 20;

export interface NbdSize {
  /** Of a disk. */
  readonly diskBytes: number;
  /** Written and read in 1 MiB. */
  readonly largeBytes: number;
  /** Read and written at random. */
  readonly smallBytes: number;
  /** Copied beside requests, and read from the log: far below what a log may hold, and more than is copied in the time that they take. */
  readonly logBytes: number;
  /** Of random reads that find little in memory. */
  readonly copiedBytes: number;
  readonly seconds: number;
  readonly runs: number;
}

export const measuredSize: NbdSize = {
  diskBytes: 2048 * MiB,
  largeBytes: 512 * MiB,
  smallBytes: 64 * MiB,
  logBytes: 192 * MiB,
  copiedBytes: 1024 * MiB,
  seconds: 2,
  runs: 3,
};

export const smokeSize: NbdSize = {
  diskBytes: 64 * MiB,
  largeBytes: 8 * MiB,
  smallBytes: 4 * MiB,
  logBytes: 8 * MiB,
  copiedBytes: 8 * MiB,
  seconds: 1,
  runs: 1,
};
