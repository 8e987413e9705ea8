/** Inside the catalog: what was read cannot be what was written. Becomes a `CATALOG_DAMAGED` finding and a rebuild. */
export class DamagedError extends Error {
  override readonly name = 'DamagedError';

  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
  }
}
