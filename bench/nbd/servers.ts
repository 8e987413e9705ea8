/** NBD servers of new disks: ours in a process of its own, and those of others. */

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A disk that is served. */
export interface Served {
  readonly socket: string;
  readonly exportName: string;
  /** Captures the disk, where the server can; resolves when the copy has ended. */
  capture(): Promise<void>;
  /** Ends the server and removes what it had. */
  stop(): Promise<void>;
}

export interface Contender {
  readonly name: string;
  /** The program, and its Debian package; null for ours. */
  readonly program: readonly [string, string] | null;
  /** Serves a new disk of zeros, in an empty directory. */
  serve(directory: string, sizeBytes: number): Promise<Served>;
}

export const ours = 'stillpoint';

/** Those that a disk is compared over. */
export const contenders: readonly Contender[] = [
  {
    name: ours,
    program: null,
    serve: (directory, sizeBytes) => {
      const [, program = ''] = process.argv;
      return served(directory, 'disk', (socket) => [
        process.execPath,
        program,
        'step:serve',
        path.join(directory, 'store'),
        socket,
        String(sizeBytes),
      ]);
    },
  },
  {
    name: 'qemu-nbd, qcow2',
    program: ['qemu-nbd', 'qemu-utils'],
    serve: async (directory, sizeBytes) => {
      const image = path.join(directory, 'disk.qcow2');
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, String(sizeBytes)]);
      return served(directory, 'disk', (socket) => qemuNbd(socket, 'qcow2', image));
    },
  },
  {
    name: 'qemu-nbd, raw',
    program: ['qemu-nbd', 'qemu-utils'],
    serve: async (directory, sizeBytes) => {
      const image = path.join(directory, 'disk.raw');
      await writeFile(image, '');
      await truncate(image, sizeBytes);
      return served(directory, 'disk', (socket) => qemuNbd(socket, 'raw', image));
    },
  },
  {
    name: 'nbdkit memory',
    program: ['nbdkit', 'nbdkit'],
    serve: (directory, sizeBytes) =>
      served(directory, '', (socket) => ['nbdkit', '-f', '-U', socket, 'memory', String(sizeBytes)]),
  },
];

/** Those whose programs are here; the others are told. */
export function presentContenders(say: (line: string) => void): readonly Contender[] {
  const places = (process.env['PATH'] ?? '').split(path.delimiter);
  return contenders.filter(({ name, program }) => {
    if (program === null || places.some((place) => existsSync(path.join(place, program[0])))) return true;
    say(`${name} is left out: there is no ${program[0]} (Debian package ${program[1]})`);
    return false;
  });
}

function qemuNbd(socket: string, format: string, image: string): string[] {
  return [
    'qemu-nbd',
    '--persistent',
    '--shared=8',
    '--export-name=disk',
    `--socket=${socket}`,
    `--format=${format}`,
    image,
  ];
}

/** Starts a server and waits until its socket is there. */
async function served(
  directory: string,
  exportName: string,
  command: (socket: string) => readonly string[],
): Promise<Served> {
  const socket = path.join(directory, 'socket');
  const [program = '', ...parameters] = command(socket);
  const child = spawn(program, parameters, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  for (let waited = 0; !existsSync(socket); waited += 1) {
    if (child.exitCode !== null || waited > 600) throw new Error(`${program} does not serve`);
    await pause(50);
  }
  return { socket, exportName, capture: () => captured(child), stop: () => stopped(child, directory) };
}

async function captured(child: ChildProcess): Promise<void> {
  const copied = new Promise((resolve) => child.once('message', resolve));
  child.send('capture');
  await copied;
}

async function stopped(child: ChildProcess, directory: string): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
}
