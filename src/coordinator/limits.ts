/** Every upper bound of the control side, with its reason. The engine has its own in `limits.rs`. */

/** Restore points of one machine. Azure keeps at most 500 restore points of a virtual machine. */
export const pointsPerMachineMax = 500;

/** Disks of one machine: what one manifest can hold (format.md section 7). */
export const disksPerMachineMax = 256;

/** A machine's configuration as JSON text. It is kept in every point and held in memory with each of them. */
export const configurationBytesMax: number = 1 << 20;

/** The longest path that Linux takes, `PATH_MAX`. */
export const pathBytesMax = 4096;

/** The largest managed disk: the engine's `DISK_BYTES_MAX`. */
export const diskBytesMax: number = 64 * 2 ** 40;

/** What one read, write or batch of a managed disk moves at most: all of it is in memory at once. */
export const callBytesMax: number = 64 << 20;
