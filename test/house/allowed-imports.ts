/**
 * The table of allowed imports, as data. `docs/architecture.md` shows the same rows; a test compares the two.
 *
 * A unit is a folder or file below `src/` or `native/engine/src/`; a file belongs to the longest unit that its path
 * begins with. A unit may import itself, what its row names, and the foundation, unless the row says `standsAlone`.
 * A row without files is a part still to come.
 */

export interface ImportRow {
  readonly unit: string;
  /** Units that it may import, besides itself and the foundation. */
  readonly may: readonly string[];
  /** Does not even import the foundation. */
  readonly standsAlone?: true;
  /** npm packages that it may import. */
  readonly packages?: readonly string[];
  readonly why: string;
}

/** Files of `src/` that every unit may import: words, codes and the two injected sources. They import each other only. */
export const foundation: readonly string[] = ['store/clock', 'store/errors', 'store/random', 'store/units'];

export const typeScriptRows: readonly ImportRow[] = [
  {
    unit: 'index',
    may: ['store', 'consistency', 'images', 'native/engine'],
    why: 'the public surface: re-exports, named one by one',
  },
  {
    unit: 'store',
    may: ['coordinator', 'catalog', 'regions', 'consistency', 'images', 'native', 'native/engine'],
    packages: ['valibot'],
    why: 'puts the parts together; checks what callers pass',
  },
  {
    unit: 'coordinator',
    may: ['catalog', 'regions', 'consistency', 'native/engine'],
    why: 'decides when; knows the engine as an interface only',
  },
  { unit: 'consistency', may: [], packages: ['valibot'], why: 'writers know nothing of stores' },
  {
    unit: 'catalog',
    may: ['native/engine'],
    packages: ['level', 'valibot', 'xxhash-wasm'],
    why: 'records and their store; manifests come as values',
  },
  { unit: 'regions', may: ['native/engine'], packages: ['valibot'], why: 'places that keep packs and manifests' },
  { unit: 'images', may: [], why: 'formats of images; runs qemu-img, the only child process' },
  { unit: 'native/engine', may: [], why: 'the engine as an interface: types only' },
  { unit: 'native', may: ['native/engine', 'native/generated'], why: 'the one facade over the generated loader' },
  {
    unit: 'portable',
    may: [],
    standsAlone: true,
    packages: ['@bokuweb/zstd-wasm', 'hash-wasm', 'xxhash-wasm'],
    why: 'an independent reader of the format: shares no code with what wrote it',
  },
  {
    unit: 'testing',
    may: ['index', 'store', 'coordinator', 'catalog', 'native', 'native/engine', 'portable'],
    packages: ['fast-check'],
    why: 'parts to replace and models to compare with, for tests',
  },
  {
    unit: 'control',
    may: ['index', 'store', 'images', 'native/engine', 'portable'],
    packages: ['valibot'],
    why: 'one command layer, in process or over the socket',
  },
  {
    unit: 'api',
    may: ['index', 'store', 'control'],
    packages: ['fastify', 'prom-client', 'valibot'],
    why: 'REST over the library; metrics',
  },
  {
    unit: 'serve',
    may: ['index', 'store', 'control', 'api'],
    packages: ['pino'],
    why: 'keeps a store open and serves it: start, stop, logs, the service manager',
  },
  { unit: 'web', may: [], standsAlone: true, why: 'runs in a browser' },
  {
    unit: 'cli',
    may: ['index', 'control', 'images', 'portable', 'api', 'serve'],
    packages: ['cli-progress', 'cli-table3', 'commander', 'valibot'],
    why: 'words, tables and exit codes; nobody imports it',
  },
];

/** Modules of the engine that every module may import. They import each other only. */
export const engineFoundation: readonly string[] = ['clock', 'control', 'error', 'limits', 'random', 'units'];

export const engineRows: readonly ImportRow[] = [
  { unit: 'io', may: [], why: 'the only file access; file, memory and faulty' },
  { unit: 'format', may: [], why: 'bytes to values and back, proven; reads no file' },
  { unit: 'buffers', may: [], why: 'memory that is used again' },
  { unit: 'throttle', may: [], why: 'rates, pure' },
  { unit: 'busy_poll', may: [], why: 'whether to look for work before sleeping' },
  { unit: 'chunk_store', may: ['io', 'format'], why: 'packs and the index; knows no disks' },
  { unit: 'block_map', may: ['io', 'format', 'chunk_store'], why: 'trees of chunk ids; nodes live in packs' },
  { unit: 'diff', may: ['io', 'format', 'block_map', 'chunk_store'], why: 'two maps, and chunks to refine' },
  { unit: 'scan', may: ['io', 'format', 'block_map', 'chunk_store'], why: 'an image to a new map' },
  { unit: 'restore', may: ['io', 'format', 'block_map', 'chunk_store'], why: 'a map to an image' },
  { unit: 'points', may: ['io', 'format', 'block_map'], why: 'manifests: the commit of a point' },
  { unit: 'verify', may: ['io', 'format', 'block_map', 'chunk_store'], why: 'reads everything, changes nothing' },
  {
    unit: 'collect',
    may: ['io', 'format', 'block_map', 'chunk_store', 'throttle'],
    why: 'what nobody reaches goes',
  },
  {
    unit: 'statistics',
    may: ['format', 'block_map', 'chunk_store'],
    why: 'what points and machines take; changes nothing',
  },
  { unit: 'write_log', may: ['io', 'format'], why: 'records in order; knows no chunks' },
  { unit: 'cut', may: ['format', 'write_log'], why: 'one position of the log; bases are values of the superblock' },
  {
    unit: 'disk',
    may: ['io', 'format', 'write_log', 'cut', 'block_map', 'chunk_store'],
    why: 'the live view: layers over a base',
  },
  {
    unit: 'background_copy',
    may: ['io', 'format', 'write_log', 'cut', 'block_map', 'chunk_store', 'throttle'],
    why: 'a sealed layer to a new map',
  },
  {
    unit: 'export',
    may: ['io', 'format', 'diff', 'block_map', 'chunk_store', 'throttle'],
    why: 'a point or a diff as a stream',
  },
  {
    unit: 'nbd',
    may: ['io', 'buffers', 'busy_poll', 'disk', 'block_map', 'chunk_store', 'throttle'],
    why: 'a disk or point as a block device',
  },
  {
    unit: 'engine',
    may: [
      'io',
      'format',
      'throttle',
      'chunk_store',
      'block_map',
      'diff',
      'scan',
      'restore',
      'points',
      'verify',
      'collect',
      'statistics',
      'write_log',
      'cut',
      'disk',
      'background_copy',
      'export',
      'nbd',
    ],
    why: 'the only place that turns values into commits',
  },
  {
    unit: 'probe',
    may: ['io', 'format', 'chunk_store', 'block_map', 'diff', 'scan', 'restore'],
    why: 'the hot paths one by one, for benches only',
  },
];

/** Modules of the engine that the binding may name: its top, the foundation, what files it is given, and the probe of the benches. */
export const bindingMay: readonly string[] = [
  'engine',
  'buffers',
  'busy_poll',
  'io',
  'nbd',
  'probe',
  ...engineFoundation,
];

/** A table as the lines of `docs/architecture.md`. */
export function documented(rows: readonly ImportRow[], withPackages: boolean): string[] {
  const code = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(', ');
  return rows.map((row) => {
    const may = row.standsAlone === true ? 'nothing, not even the foundation' : code(row.may);
    const cells = [code([row.unit]), may, ...(withPackages ? [code(row.packages ?? [])] : []), row.why];
    return `| ${cells.join(' | ')} |`;
  });
}
