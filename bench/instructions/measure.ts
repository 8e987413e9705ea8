/** Builds the bench of the hot paths, runs it under callgrind, and reads how many instructions each path took. */

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { inCheckout } from '../checkout.js';
import { CommandFailed, runCommand } from '../compare/process.js';

/** The paths, by the names of their functions in native/engine/benches/instructions.rs, and what one operation is. */
export const paths: ReadonlyMap<string, string> = new Map([
  ['hash', 'a chunk'],
  ['fill_test', 'a chunk that is a fill'],
  ['zstd_encode', 'a chunk, decoded and compared too'],
  ['lz4_encode', 'a chunk, decoded and compared too'],
  ['delta_encode', 'a chunk, decoded and compared too'],
  ['zstd_decode', 'a chunk, checked and proven'],
  ['lz4_decode', 'a chunk, checked and proven'],
  ['delta_decode', 'a chunk with its base at hand, checked and proven'],
  ['index_hit', 'a look-up of what is there'],
  ['index_miss', 'a look-up of what is not'],
  ['append', 'a frame made and put into a pack'],
  ['map_build', 'a node of a block map'],
  ['diff', 'an extent, in a map of 65 nodes that nobody has read yet'],
]);

/** What counts depend on besides our own code. */
export interface Circumstances {
  readonly rustc: string;
  readonly valgrind: string;
  readonly libc: string;
  /** The widest vectors that code under valgrind may choose. */
  readonly vectors: string;
}

/** Instructions of one operation, by path. */
export type Counts = Readonly<Record<string, number>>;

/** Why nothing can be measured here; null when it can. */
export async function whatIsMissing(): Promise<string | null> {
  if (process.arch !== 'x64') return `the baseline is of x86-64, this is ${process.arch}`;
  const valgrind = await firstLine('valgrind', '--version').catch(() => null);
  return valgrind === null ? 'valgrind is missing (Debian package valgrind)' : null;
}

export async function circumstances(): Promise<Circumstances> {
  const flags = new Set((/^flags\s*:(.*)$/m.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[1] ?? '').split(' '));
  const libc = await firstLine('ldd', '--version');
  return {
    rustc: await firstLine('rustc', '--version'),
    valgrind: await firstLine('valgrind', '--version'),
    libc: libc.replace(/^ldd /, ''),
    // Valgrind 3.19 has no AVX-512 and says so to whoever asks, so a machine with it counts as one without.
    vectors: ['avx2', 'sse4_1', 'sse2'].find((name) => flags.has(name)) ?? 'none',
  };
}

/** Instructions of one operation of each path. */
export async function measureInstructions(): Promise<Counts> {
  const program = await buildBench();
  const directory = await mkdtemp(path.join(tmpdir(), 'stillpoint-instructions-'));
  try {
    const file = path.join(directory, 'out');
    const args = ['--tool=callgrind', `--callgrind-out-file=${file}`, `--toggle-collect=${prefix}*`, program];
    const { stdout } = await runCommand({ program: 'valgrind', args });
    return countsOf(stdout, await readFile(file, 'utf8'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What the functions of the paths are called in callgrind's words. */
const prefix = 'instructions::measured_';

/** Counts from what the bench printed (`name operations` on each line) and what callgrind wrote. */
export function countsOf(printed: string, profile: string): Counts {
  const instructions = inclusiveCosts(profile);
  const counts: Record<string, number> = {};
  for (const line of printed.trim().split('\n')) {
    const [name = '', operations = ''] = line.split(' ');
    const found = instructions.get(`${prefix}${name}`) ?? 0;
    if (found === 0 || !(Number(operations) >= 1)) throw new CommandFailed(`callgrind counted nothing for ${name}`);
    counts[name] = Math.round(found / Number(operations));
  }
  const unmeasured = [...paths.keys()].filter((name) => counts[name] === undefined);
  if (unmeasured.length > 0) throw new CommandFailed(`the bench says nothing of ${unmeasured.join(', ')}`);
  return counts;
}

/**
 * What each path cost with all that it called. Nothing outside of the paths is counted, so together they must be all that
 * was.
 *
 * In callgrind's format a call is three lines: `cfn=(number) name`, the name only the first time the number occurs;
 * `calls=…`; and a line with the position and the cost of all that was called.
 */
function inclusiveCosts(profile: string): ReadonlyMap<string, number> {
  const names = new Map<string, string>();
  const costs = new Map<string, number>();
  let called = '';
  let isCost = false;
  for (const line of profile.split('\n')) {
    const named = /^c?fn=\((\d+)\)(?: (.*))?$/.exec(line);
    if (named !== null) {
      const [, number = '', name] = named;
      if (name !== undefined) names.set(number, name);
      if (line.startsWith('c')) called = number;
    } else if (isCost) {
      const name = names.get(called) ?? '';
      if (name.startsWith(prefix)) costs.set(name, (costs.get(name) ?? 0) + Number(line.split(' ')[1]));
    }
    isCost = line.startsWith('calls=');
  }
  const all = Number(/^summary: (\d+)$/m.exec(profile)?.[1]);
  const sum = [...costs.values()].reduce((total, cost) => total + cost, 0);
  if (sum !== all) throw new CommandFailed(`callgrind counted ${all} instructions, the paths together ${sum}`);
  return costs;
}

/** The bench's file, built as the addon is, for the same target, so that what both are made of is built once. */
async function buildBench(): Promise<string> {
  const host = /^host: (.+)$/m.exec((await runCommand({ program: 'rustc', args: ['-vV'] })).stdout)?.[1] ?? '';
  const manifest = inCheckout('native', 'Cargo.toml');
  const what = ['--release', '--locked', '--target', host, '-p', 'stillpoint-engine', '--bench', 'instructions'];
  const args = ['build', '--manifest-path', manifest, ...what, '--message-format=json-render-diagnostics'];
  const { stdout } = await runCommand({ program: 'cargo', args });
  for (const line of stdout.split('\n').filter((text) => text.includes('"executable":"'))) {
    const message = JSON.parse(line) as { executable?: string; target?: { name?: string } };
    if (message.target?.name === 'instructions' && message.executable !== undefined) return message.executable;
  }
  throw new CommandFailed('cargo built no bench named instructions');
}

async function firstLine(program: string, ...args: readonly string[]): Promise<string> {
  return (await runCommand({ program, args: [...args] })).stdout.split('\n')[0]?.trim() ?? '';
}
