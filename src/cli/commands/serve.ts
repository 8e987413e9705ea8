/** `serve`. */

import { open, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { StillpointError } from '../../store/errors.js';
import { gatherNbdPlace, parseCacheSize, parseHttpAddress, parseWhole, type NbdPlace } from '../arguments.js';
import { completes } from '../completion/kinds.js';
import { packageVersion } from '../version.js';
import type { GlobalOptions, Invoke, Terminal } from '../invocation.js';
import type { CommandContext } from '../../control/context.js';
import type { NbdTls } from '../../index.js';
import type { LogLevel } from '../../serve/log.js';
import type { Ready } from '../../serve/serve.js';

interface ServeCommandOptions extends GlobalOptions {
  readonly nbd?: readonly NbdPlace[];
  readonly nbdClientsMax?: number;
  readonly tlsCertificate?: string;
  readonly tlsKey?: string;
  readonly tlsClientAuthorities?: string;
  readonly tlsPsk?: string;
  readonly allowPlainTcp?: true;
  readonly http?: { readonly host: string; readonly port: number };
  readonly chunkCache?: number;
  readonly stopTimeout: number;
  readonly logLevel: LogLevel;
  readonly logFormat: 'auto' | 'json' | 'text';
}

const fileOption = (flags: string, description: string): Option => completes(new Option(flags, description), 'file');

async function readPem(named: string, workingDirectory: string): Promise<string> {
  const path = resolve(workingDirectory, named);
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StillpointError('ARGUMENT_INVALID', `cannot read ${path}: ${reason}`, { path }, error);
  }
}

/** Reads a file that nobody else may read: its owner only, or a group besides where root is the owner. */
async function readSecret(named: string, workingDirectory: string): Promise<string> {
  const path = resolve(workingDirectory, named);
  const refused = (reason: string, cause?: unknown): StillpointError =>
    new StillpointError('ARGUMENT_INVALID', `cannot use ${path}: ${reason}`, { path }, cause);
  const failed = (error: unknown): never => {
    throw refused(error instanceof Error ? error.message : String(error), error);
  };
  const file = await open(path, 'r').catch(failed);
  try {
    const { mode, uid } = await file.stat();
    if ((mode & (uid === 0 ? 0o037 : 0o077)) !== 0) {
      throw refused('others than its owner have access to it, and it holds keys; chmod 600 takes that away');
    }
    return await file.readFile('utf8').catch(failed);
  } finally {
    await file.close();
  }
}

async function tlsOf(options: ServeCommandOptions, workingDirectory: string): Promise<NbdTls | null> {
  const { tlsCertificate, tlsKey, tlsClientAuthorities, tlsPsk } = options;
  if (tlsPsk !== undefined) return { preSharedKeys: await readSecret(tlsPsk, workingDirectory) };
  if (tlsCertificate === undefined || tlsKey === undefined) return null;
  return {
    certificate: await readPem(tlsCertificate, workingDirectory),
    key: await readPem(tlsKey, workingDirectory),
    ...(tlsClientAuthorities === undefined
      ? {}
      : { clientAuthorities: await readPem(tlsClientAuthorities, workingDirectory) }),
  };
}

function readyText({ path, control, nbd, http }: Ready): string {
  const places = [
    ['control', control],
    ...nbd.map((each) => ['nbd', each]),
    ...(http === null ? [] : [['http', http]]),
  ];
  return [`serving ${path}`, ...places.map(([what = '', where = '']) => `  ${what.padEnd(7)}  ${where}`)].join('\n');
}

async function serveStore(
  context: CommandContext,
  terminal: Terminal,
  options: ServeCommandOptions,
  invoke: Invoke,
): Promise<void> {
  const { shell, stdout, stderr, json } = terminal;
  const tls = await tlsOf(options, invoke.workingDirectory);
  const listen = (options.nbd ?? []).map((place) =>
    'unix' in place ? { unix: resolve(invoke.workingDirectory, place.unix) } : place,
  );
  const { serve } = await import('../../serve/serve.js');
  const isText = options.logFormat === 'auto' ? stderr.isTerminal : options.logFormat === 'text';
  await serve(
    context,
    {
      nbd: {
        listen,
        ...(options.nbdClientsMax === undefined ? {} : { clientsMax: options.nbdClientsMax }),
        ...(tls === null ? {} : { tls }),
        allowPlainTcp: options.allowPlainTcp === true,
      },
      http: options.http ?? null,
      chunkCacheBytes: options.chunkCache,
      logFormat: isText ? 'text' : 'json',
      logLevel: options.quiet === true ? 'warn' : options.logLevel,
      stopTimeoutMs: options.stopTimeout * 1000,
    },
    {
      version: packageVersion(),
      environment: shell.environment,
      writeLog: (line) => void stderr.writeIfOpen(line),
      onReady: (ready) => stdout.writeIfOpen(`${json ? JSON.stringify(ready) : readyText(ready)}\n`),
    },
  );
}

/** Adds `serve`. */
export function serveCommand(program: Command, invoke: Invoke): void {
  program
    .command('serve')
    .description('Keep the store open, carry out the commands of others, and serve its disks.')
    .addOption(
      new Option(
        '--nbd <address>',
        'serve disks and points over NBD: unix:PATH or tcp:HOST:PORT; once for each',
      ).argParser(gatherNbdPlace),
    )
    .addOption(new Option('--nbd-clients-max <n>', 'NBD clients at once').argParser(parseWhole(1, 65_536)))
    .addOption(fileOption('--tls-certificate <file>', 'certificate for NBD over TCP, with its chain, as PEM'))
    .addOption(fileOption('--tls-key <file>', 'its private key, as PEM'))
    .addOption(fileOption('--tls-client-authorities <file>', 'NBD clients must show a certificate of one of these'))
    .addOption(
      fileOption('--tls-psk <file>', 'users and keys for NBD over TCP instead of a certificate, as psktool writes'),
    )
    .option('--allow-plain-tcp', 'serve NBD without TLS also where other machines can reach it')
    .addOption(
      new Option('--http <address>', 'serve /metrics and /healthz: HOST:PORT, or PORT of this machine only').argParser(
        parseHttpAddress,
      ),
    )
    .addOption(
      new Option(
        '--chunk-cache <size>',
        'memory for decoded chunks that all who read disks share (default: 64MiB)',
      ).argParser(parseCacheSize),
    )
    .addOption(
      new Option('--stop-timeout <seconds>', 'how long commands that run have to end after the first signal')
        .argParser(parseWhole(0, 86_400))
        .default(30),
    )
    .addOption(
      new Option('--log-level <level>', 'the least that is logged')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info'),
    )
    .addOption(
      new Option('--log-format <format>', 'auto is text on a terminal, JSON elsewhere')
        .choices(['auto', 'json', 'text'])
        .default('auto'),
    )
    .addHelpText(
      'after',
      '\nExamples: stillpoint serve --http 9464\n          stillpoint serve --nbd unix:/run/stillpoint/nbd.sock',
    )
    .action((_options: object, command: Command) => {
      const options = command.optsWithGlobals<ServeCommandOptions>();
      if (options.readOnly === true) command.error("error: option '--read-only' does not go with serve");
      if ((options.tlsCertificate === undefined) !== (options.tlsKey === undefined)) {
        command.error("error: options '--tls-certificate <file>' and '--tls-key <file>' go together");
      }
      if (options.tlsClientAuthorities !== undefined && options.tlsKey === undefined) {
        command.error("error: option '--tls-client-authorities <file>' needs a certificate");
      }
      if (options.tlsPsk !== undefined && (options.tlsKey ?? options.tlsCertificate) !== undefined) {
        command.error("error: option '--tls-psk <file>' does not go with a certificate");
      }
      return invoke(command, { write: (context, terminal) => serveStore(context, terminal, options, invoke) });
    });
}
