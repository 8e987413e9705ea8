/**
 * The portable reader: lists the restore points of a store and gives back their disks without the engine.
 *
 * It was written from `docs/format.md` alone, by other hands than the engine's, so that the two check each other and
 * the document. It reads config, manifests and packs; it writes nothing, takes no lock, and uses neither index nor
 * catalog. Imports: this folder, Node.js, `@bokuweb/zstd-wasm`, `hash-wasm`, `xxhash-wasm`.
 */

export { openPortable, type PortableStore } from './store.js';
export { PortableError, type PortableErrorCode, type PortableErrorContext } from './errors.js';
export type { DiskExtent } from './disk-reader.js';
export type { PortableDisk, PortablePoint } from './point.js';
export type { ByteRange, PortableHit, PortableProblem } from './problem.js';
export type { LongCallOptions, PortableProgress, RestoreSummary } from './restore.js';
