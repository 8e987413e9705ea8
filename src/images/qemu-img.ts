/**
 * Runs qemu-img: the one child process of the library.
 *
 * It is never asked what format something has, is given absolute paths, and gets no standard input. A call that is cancelled
 * kills it; where this process is killed it loses its connection and ends by itself.
 */

import { spawn } from 'node:child_process';

import { StillpointError, type ErrorCode } from '../store/errors.js';

/** What it printed that says why it failed is kept up to this length. */
const complaintCharsMax = 4000;

export interface QemuImgCall {
  readonly args: readonly string[];
  /** What is done, for messages: `read /images/os.qcow2`. */
  readonly task: string;
  /** The image, for the error's context. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
  /** Codes besides 0 that it may end with. Default none. */
  readonly alsoFine?: readonly number[] | undefined;
  /** Told the share that is done, from 0 to 1; needs `-p` among the arguments. */
  readonly onShare?: ((share: number) => void) | undefined;
}

/** A line of progress: `    (12.34/100%)`. */
const sharePattern = /\((\d+(?:\.\d+)?)\/100%\)/g;

/**
 * Runs it and gives what it printed.
 *
 * Errors: `QEMU_IMG_MISSING`, `IMAGE_CONVERSION_FAILED` with what it said, `NO_SPACE`, `PERMISSION_DENIED`, `CANCELLED`.
 */
export function qemuImg({ args, task, path, signal, alsoFine = [], onShare }: QemuImgCall): Promise<string> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(cancelled(signal));
      return;
    }
    // What it says is taken apart, so it has to say it in one language.
    const env = { ...process.env, LC_ALL: 'C' };
    const child = spawn('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'], env });
    const kill = (): void => {
      child.kill('SIGKILL');
    };
    signal?.addEventListener('abort', kill, { once: true });
    let printed = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (more: string) => {
      if (onShare === undefined) {
        printed += more;
        return;
      }
      const share = [...more.matchAll(sharePattern)].at(-1)?.[1];
      if (share !== undefined) onShare(Math.min(1, Number(share) / 100));
    });
    child.stderr.setEncoding('utf8').on('data', (more: string) => {
      complaint = (complaint + more).slice(-complaintCharsMax);
    });
    child.once('error', (cause) => {
      signal?.removeEventListener('abort', kill);
      reject(notStarted(cause));
    });
    child.once('close', (code, killedBy) => {
      signal?.removeEventListener('abort', kill);
      if (signal?.aborted === true) reject(cancelled(signal));
      else if (code !== null && [0, ...alsoFine].includes(code)) resolve(printed);
      else reject(failed({ task, path, said: complaint.trim(), how: killedBy ?? `code ${code ?? '?'}` }));
    });
  });
}

function cancelled(signal: AbortSignal): StillpointError {
  return new StillpointError('CANCELLED', 'the call was cancelled', {}, signal.reason);
}

function notStarted(cause: Error): StillpointError {
  return new StillpointError('QEMU_IMG_MISSING', `qemu-img could not be started: ${cause.message}`, {}, cause);
}

/** What the system told it, in the words of the C library. */
const systemCodes: readonly { readonly says: string; readonly code: ErrorCode }[] = [
  { says: 'No space left on device', code: 'NO_SPACE' },
  { says: 'Disk quota exceeded', code: 'NO_SPACE' },
  { says: 'Permission denied', code: 'PERMISSION_DENIED' },
];

function failed(end: { task: string; path: string; said: string; how: string }): StillpointError {
  const { task, path, said, how } = end;
  const [first = ''] = said.split('\n');
  const code = systemCodes.find(({ says }) => said.includes(says))?.code ?? 'IMAGE_CONVERSION_FAILED';
  const why = first === '' ? `ended with ${how}` : `said: ${first}`;
  return new StillpointError(
    code,
    `qemu-img could not ${task}: it ${why}`,
    { path },
    new Error(said === '' ? `qemu-img ended with ${how}` : said),
  );
}
