/** The command line as JavaScript files in a directory of their own, for tests that start it as a process. */

import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
const parts = [
  'src/cli',
  'src/control',
  'src/serve',
  'src/api',
  'src/images',
  'src/store/clock.ts',
  'src/store/errors.ts',
  'src/store/units.ts',
  'src/store/wait.ts',
  'test/cli',
];

function filesBelow(path: string): string[] {
  if (path.endsWith('.ts')) return [path];
  const entries = readdirSync(join(root, path), { withFileTypes: true });
  return entries.flatMap((entry) => {
    const below = `${path}/${entry.name}`;
    return entry.isDirectory() || (below.endsWith('.ts') && !below.endsWith('.test.ts')) ? filesBelow(below) : [];
  });
}

/** How a process ended, and what it printed. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** Types are taken off, not checked: the type check is a step of its own. */
export class CompiledCli {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'stillpoint-cli-'));

  constructor() {
    const options = {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    } satisfies ts.CompilerOptions;
    for (const file of parts.flatMap(filesBelow)) {
      const target = join(this.directory, file.replace(/\.ts$/u, '.js'));
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(
        target,
        ts.transpileModule(readFileSync(join(root, file), 'utf8'), { compilerOptions: options }).outputText,
      );
    }
    cpSync(join(root, 'package.json'), join(this.directory, 'package.json'));
    symlinkSync(join(root, 'node_modules'), join(this.directory, 'node_modules'));
  }

  /** The program that is installed. */
  get main(): string {
    return join(this.directory, 'src/cli/main.js');
  }

  /** The same with a fake library. */
  get fakeMain(): string {
    return join(this.directory, 'test/cli/fake-main.js');
  }

  /** Starts one of the two. */
  start(program: string, words: readonly string[], environment: Readonly<Record<string, string>> = {}): ChildProcess {
    return spawn(process.execPath, [program, ...words], {
      cwd: this.directory,
      env: { PATH: process.env['PATH'], STILLPOINT_STORE: '/backup/store', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async run(
    program: string,
    words: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<Ended> {
    return ended(this.start(program, words, environment));
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Waits for the end of a process. */
export async function ended(child: ChildProcess): Promise<Ended> {
  let out = '';
  let err = '';
  child.stdout?.on('data', (part: Buffer) => (out += part.toString()));
  child.stderr?.on('data', (part: Buffer) => (err += part.toString()));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      resolve({ code, signal, out, err });
    });
  });
}
