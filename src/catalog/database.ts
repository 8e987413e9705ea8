/** Reads the database whole and proves what it holds. docs/catalog-format.md, section 6. */

import { StillpointError } from '../store/errors.js';
import type { Checksum } from './checksum.js';
import { DamagedError } from './damaged-error.js';
import type { CatalogRecord, RecordKey } from './record.js';
import { decodeMeta, decodeRecord, metaKey } from './record-codec.js';
import type { RecordLog } from './record-log.js';
import { catalogVersion, counted, isSameContent, type Seal } from './seal.js';

/** The database's contents: consistent, but not yet compared with the slots. */
export interface DatabaseContent {
  readonly records: readonly CatalogRecord[];
  readonly sums: Map<RecordKey, bigint>;
  /** Null in a database without any record. */
  readonly seal: Seal | null;
}

/** All records and the seal. Errors: `DamagedError` when they do not agree; `STORE_NEWER_FORMAT`. */
export async function readDatabase(log: RecordLog, checksum: Checksum): Promise<DatabaseContent> {
  const records: CatalogRecord[] = [];
  const sums = new Map<RecordKey, bigint>();
  let seal: Seal | null = null;
  for (const [key, value] of await log.readAll()) {
    if (key === metaKey) {
      const meta = decodeMeta(checksum, value);
      if ('newerVersion' in meta) {
        throw new StillpointError(
          'STORE_NEWER_FORMAT',
          `the catalog was written by a newer version (${meta.newerVersion})`,
          {
            found: meta.newerVersion,
            expected: catalogVersion,
          },
        );
      }
      seal = meta;
    } else {
      const decoded = decodeRecord(checksum, key, value);
      records.push(decoded.record);
      sums.set(decoded.key, decoded.sum);
    }
  }
  const own = counted(sums.values());
  if (seal === null && records.length > 0) throw new DamagedError('the database has records but no meta record');
  if (seal !== null && !isSameContent(own, seal)) {
    throw new DamagedError(
      `the database holds ${own.count} records where its meta record names ${seal.count}, or others`,
    );
  }
  return { records, sums, seal };
}
