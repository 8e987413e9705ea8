/**
 * Manifests: one restore point each (format.md section 7).
 *
 *      0       8       10    12       16         32         48         56          60      64            64 + 96 d
 *     | magic | version| d  | l      | point id | store id | cut at   | chunk     | domain| d × 96 bytes| l bytes| checksum
 *     | STILL | u16    | u16| u32    | 16 bytes | 16 bytes | u64 ms   | size u32  | u32   | the disks   | detail | u64
 *     | MAN   |        |    |        |          |          |          |           |       |             | JSON   |
 *
 * Valid when the checksum holds, its ids equal file name and store, zero bytes are zero, the detail parses, and detail
 * and table tell of the same disks.
 */

import { rootPlace, type BlockMap } from './block-map.js';
import { objectIdAt, type ObjectId } from './brands.js';
import { hasText, isZero, safeU64, u16, u32, u64 } from './bytes.js';
import { formatVersion, type StoreConfig } from './config.js';
import { messageOf, PortableError } from './errors.js';
import type { Checksum } from './hashes.js';
import { parseDetail, type ManifestDetail } from './manifest-detail.js';
import { parseRoot } from './node.js';
import type { StoredPoint } from './point.js';

const headBytes = 64;
const diskBytes = 96;
const disksMax = 256;
const detailBytesMin = 2;
const detailBytesMax = 16 * 1024 * 1024;

/** No manifest is longer. */
export const manifestBytesMax: number = headBytes + diskBytes * disksMax + detailBytesMax + 8;

/** A disk as the binary table has it. */
interface TableDisk {
  readonly id: ObjectId;
  readonly sectorBytes: number;
  readonly map: BlockMap;
}

/**
 * Reads the manifest of a point.
 *
 * Throws `STORE_NEWER_FORMAT` when its checksum holds and its version is higher, `MANIFEST_DAMAGED` for the rest.
 */
export function parseManifest(
  bytes: Uint8Array,
  pointId: ObjectId,
  file: string,
  config: StoreConfig,
  checksum: Checksum,
): StoredPoint {
  try {
    return parse(bytes, pointId, file, config, checksum);
  } catch (error) {
    if (error instanceof PortableError) throw error;
    const message = `the manifest of point ${pointId} is damaged: ${messageOf(error)}`;
    throw new PortableError('MANIFEST_DAMAGED', message, { file, point: pointId }, error);
  }
}

function parse(
  bytes: Uint8Array,
  pointId: ObjectId,
  file: string,
  config: StoreConfig,
  checksum: Checksum,
): StoredPoint {
  if (bytes.length < headBytes + 8 || !hasText(bytes, 0, 'STILLMAN')) throw new Error('its magic is wrong');
  const checksumAt = bytes.length - 8;
  if (checksum(bytes.subarray(0, checksumAt)) !== u64(bytes, checksumAt)) throw new Error('its checksum does not hold');
  const version = u16(bytes, 8);
  if (version > formatVersion) {
    const message = `the manifest of point ${pointId} has format version ${version}`;
    throw new PortableError('STORE_NEWER_FORMAT', message, { file, point: pointId, version });
  }
  const diskCount = u16(bytes, 10);
  const detailBytes = u32(bytes, 12);
  const detailAt = headBytes + diskBytes * diskCount;
  if (version !== formatVersion) throw new Error(`version ${version} never existed`);
  if (diskCount < 1 || diskCount > disksMax) throw new Error(`it has ${diskCount} disks`);
  if (detailBytes < detailBytesMin || detailBytes > detailBytesMax || detailAt + detailBytes !== checksumAt) {
    throw new Error(`a detail of ${detailBytes} bytes does not fit the file`);
  }
  if (objectIdAt(bytes, 16) !== pointId) throw new Error(`it is the manifest of point ${objectIdAt(bytes, 16)}`);
  if (objectIdAt(bytes, 32) !== config.storeId) throw new Error(`it is of store ${objectIdAt(bytes, 32)}`);
  const createdMs = safeU64(bytes, 48);
  if (u32(bytes, 56) !== config.chunkBytes) throw new Error(`its chunk size is ${u32(bytes, 56)}`);
  if (u32(bytes, 60) !== 0) throw new Error(`the key domain of its detail is ${u32(bytes, 60)}`);

  const table = Array.from({ length: diskCount }, (_, index) => {
    const at = headBytes + diskBytes * index;
    return parseDisk(bytes.subarray(at, at + diskBytes), config);
  });
  const detail = parseDetail(bytes.subarray(detailAt, checksumAt));
  if (detail.createdMs !== createdMs) throw new Error('header and detail differ in the time of the cut');
  checkDisks(table, detail);
  return {
    id: pointId,
    file,
    listed: { id: pointId, ...detail },
    maps: new Map(table.map((disk) => [disk.id, disk.map])),
  };
}

function parseDisk(bytes: Uint8Array, config: StoreConfig): TableDisk {
  const id = objectIdAt(bytes, 0);
  const sizeBytes = safeU64(bytes, 16);
  const sectorBytes = u32(bytes, 24);
  const domain = u32(bytes, 28);
  if (sizeBytes === null) throw new Error(`disk ${id} has ${u64(bytes, 16)} bytes`);
  if (sectorBytes !== 512 && sectorBytes !== 4096) throw new Error(`disk ${id} has sectors of ${sectorBytes} bytes`);
  if (!config.domains.some((known) => known.domain === domain))
    throw new Error(`disk ${id} is of key domain ${domain}`);
  if (!isZero(bytes, 80, diskBytes)) throw new Error(`disk ${id} has bytes that must be zero`);
  try {
    const root = parseRoot(bytes.subarray(32, 72));
    const map = { root, sizeBytes, chunkBytes: config.chunkBytes, domain };
    rootPlace(map);
    return { id, sectorBytes, map };
  } catch (error) {
    throw new Error(`disk ${id}: ${messageOf(error)}`, { cause: error });
  }
}

/** The disks of the detail that are not excluded are exactly those of the table, in its order. */
function checkDisks(table: readonly TableDisk[], detail: ManifestDetail): void {
  const captured = detail.disks.filter((disk) => !disk.excluded);
  const agree = (disk: TableDisk, index: number): boolean => {
    const other = captured[index];
    return disk.id === other?.id && disk.map.sizeBytes === other.sizeBytes && disk.sectorBytes === other.sectorBytes;
  };
  if (captured.length !== table.length || !table.every(agree)) throw new Error('table and detail differ in the disks');
  for (const member of ['id', 'role'] as const) {
    const values = new Set(detail.disks.map((disk) => disk[member].toLowerCase()));
    if (values.size !== detail.disks.length) throw new Error(`two of its disks have the same ${member}`);
  }
}
